package node

import (
	"context"

	"wasmhost.example/api"
	"wasmhost.example/host/drain"
)

// Drain moves the node's daemons to other nodes, until they are gone, ctx ends or the
// store fails; the node takes no daemons meanwhile, and takes them again after it is
// opened the next time. to are names or ids of the nodes that may take them; none: every
// node that is trusted may. It returns what became of the daemons. Errors:
// *drain.IncompleteError names those that stayed, which is no loss: they are on disk here;
// mesh.ErrUnknownNode and *wire.AmbiguousError are about to.
func (n *Node) Drain(ctx context.Context, to ...string) (drain.Summary, error) {
	d, err := n.api.Drain(ctx, api.Drain{To: to}, false)
	if err != nil {
		return drain.Summary{}, err
	}

	stop := context.AfterFunc(ctx, d.Cancel) // also of one that was begun before
	defer stop()
	go func() {
		select {
		case <-n.store.Failed():
			d.Cancel()
		case <-d.Done():
		}
	}()

	sum, err := d.Wait(context.Background()) // a cancelled one ends
	if err != nil {
		return sum, err
	}
	return sum, sum.Err()
}
