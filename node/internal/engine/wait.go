package engine

import (
	"context"
	"errors"
	"time"

	"wasmhost.example/host"
)

// AwaitLease waits until the node answers for daemons. A node whose cluster has no
// majority is ready without it after a while: others may be waiting for it to come
// up.
func (e *Engine) AwaitLease(ctx context.Context, rt *host.Runtime) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(max(10*time.Second, 3*e.o.Lease))
	for {
		err := rt.Node().Holding()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			e.logger.Warn("the node is ready without its lease: its daemons hold their events until the cluster's directory is reached", "error", err)
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// errRemoved ends a node that has no part in the cluster's engine any more.
var errRemoved = errors.New("this node's part in the cluster's directory has ended: it was removed from the cluster, or its disk failed; see the log")

// Wait returns when the node's part has ended: because the member ended, with the
// reason, or because the node is to be opened again for another part in the cluster. It
// returns false and nil when ctx ends first.
func (e *Engine) Wait(ctx context.Context) (restart bool, err error) {
	select {
	case <-e.done:
		if err := e.member.Err(); err != nil {
			return false, err
		}
		return false, errRemoved
	case <-e.restart:
		return true, nil
	case <-ctx.Done():
		return false, nil
	}
}

// restartSoon has the node restart once who asked for it has the answer.
func (e *Engine) restartSoon() {
	e.once.Do(func() { time.AfterFunc(200*time.Millisecond, func() { close(e.restart) }) })
}
