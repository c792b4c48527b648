package engine

import (
	"context"
	"fmt"
	"time"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// askLife is how long the other nodes have to say which life of this one was the last. A
// cluster that starts as a whole waits for so long, for nobody can say it then.
const askLife = 2 * time.Second

// refuseOlder returns directory.ErrOlder if the other members have seen a later life of
// this node than its disk has: its vote would be for less than it has promised. It asks
// before the member takes part. Where nobody answers, the member takes part.
func (e *Engine) refuseOlder(ctx context.Context) error {
	peers, err := e.mesh.Peers()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askLife)
	defer cancel()
	type answer struct {
		life []byte
		err  error
	}
	answers := make(chan answer, len(peers))
	for _, p := range peers {
		e.work.Go(func() {
			life, err := directory.LifeOf(ctx, e.mesh.AskDirectory(e.o.Name, []identity.NodeID{p.ID}), e.mesh.Self())
			answers <- answer{life, err}
		})
	}
	for range peers {
		a := <-answers
		if a.err != nil {
			e.logger.Debug("asking which life of this node was the last", "error", a.err)
			continue
		}
		older, err := e.o.Older(a.life)
		if err != nil {
			return err
		}
		if older {
			return fmt.Errorf("%w: its disk does not know the node's last run", directory.ErrOlder)
		}
		return nil
	}
	return nil
}
