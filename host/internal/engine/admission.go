package engine

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
)

// question is what is known of the daemon. Who was let in when the node was ready is
// served until it ends. It needs d.mu.
func (d *Daemon) question() lifecycle.Question {
	return lifecycle.Question{
		Node: d.node.Permits.Open(), Refused: d.node.Permits.MayServe(d.id),
		State: d.life.State(), Gone: d.gone, Asleep: d.asleep(), Holding: d.held() != nil,
	}
}

// inside takes d.mu by lock once the daemon serves. The caller unlocks.
func (d *Daemon) inside(ctx context.Context, lock func(context.Context) error) error {
	d.want()
	for {
		if err := lock(ctx); err != nil {
			return err
		}
		verdict, err := d.verdict(ctx)

		switch verdict {
		case lifecycle.Serve:
			d.used = d.env.Clock().UnixNano()
			return nil
		case lifecycle.AwaitCluster:
			held := d.held()
			d.mu.Unlock()
			if held == nil { // it may now
				continue
			}
			err = d.await(ctx, held, func() error {
				return fmt.Errorf("waiting for daemon %s: %w: %w", d.id.Origin(), d.heldFor(), context.Cause(ctx))
			})
		case lifecycle.AwaitMigration:
			resumed := d.resumed
			d.mu.Unlock()
			err = d.await(ctx, resumed, func() error {
				return fmt.Errorf("waiting for daemon %s, which is on its way to another node: %w", d.id.Origin(), context.Cause(ctx))
			})
		default:
			d.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// verdict answers the question, once what is stored of the daemon is in memory. It needs
// d.mu.
func (d *Daemon) verdict(ctx context.Context) (lifecycle.Verdict, error) {
	q := d.question()
	verdict, err := q.Answer()
	if verdict != lifecycle.AwaitMemory {
		return verdict, err
	}
	if err := d.Memory().Wake(ctx); err != nil {
		return lifecycle.Refuse, err
	}

	q = d.question()
	return q.Answer()
}

// await waits for done, which may be closed already, without the daemon's lock. late is
// the error where ctx ends first.
func (d *Daemon) await(ctx context.Context, done <-chan struct{}, late func() error) error {
	select {
	case <-done:
		return nil
	case <-d.env.Context.Done():
		return daemon.ErrShuttingDown
	case <-ctx.Done():
		return late()
	}
}

// held returns what is closed when a daemon that its cluster holds may serve; nil
// where it may now.
func (d *Daemon) held() <-chan struct{} {
	if d.leader == nil {
		return nil
	}
	return d.leader.Holding()
}

// heldFor says why the cluster holds the daemon.
func (d *Daemon) heldFor() error {
	if err := d.leader.Waits(); err != nil {
		return err
	}
	return d.node.Permits.Holding()
}
