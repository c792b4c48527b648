package locate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// AskAll asks every trusted node the same, all at once. What a node answers is under its
// id. One that answers with a Problem, or that does not trust this node, has nothing to
// say; silent are those that did not answer in askTimeout.
func AskAll[T any](ctx context.Context, f *Finder, ask func(context.Context, *client.Client) (T, error)) (said map[identity.NodeID]T, silent []identity.NodeID, err error) {
	peers, err := f.mesh.Peers()
	if err != nil {
		return nil, nil, err
	}
	return AskThese(ctx, f, peers, ask)
}

// AskThese is askAll of some of the trusted nodes.
func AskThese[T any](ctx context.Context, f *Finder, peers []wire.PeerInfo, ask func(context.Context, *client.Client) (T, error)) (said map[identity.NodeID]T, silent []identity.NodeID, err error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	said = make(map[identity.NodeID]T)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			v, err := ask(ctx, PeerClient(f.mesh, p.ID))
			mu.Lock()
			defer mu.Unlock()
			var problem *api.Problem
			switch {
			case err == nil:
				said[p.ID] = v
			case errors.As(err, &problem) || errors.Is(err, wire.ErrUntrusted):
				f.logger.Debug("a peer has no answer", "peer", p.ID, "error", err)
			default:
				f.logger.Debug("a peer does not answer", "peer", p.ID, "error", err)
				silent = append(silent, p.ID)
			}
		})
	}
	wg.Wait()
	slices.Sort(silent)
	return said, silent, nil
}

// Agreed sorts the nodes by what they said: those whose answers are the same by key are
// together, and the nodes and the answers are in order of the nodes' ids. Where it returns
// more than one, the nodes do not agree; none of them is to be believed for answering
// first.
func Agreed[T any, K comparable](said map[identity.NodeID]T, key func(identity.NodeID, T) K) (nodes [][]identity.NodeID) {
	place := make(map[K]int)
	for _, id := range slices.Sorted(maps.Keys(said)) {
		k := key(id, said[id])
		at, known := place[k]
		if !known {
			at, place[k] = len(nodes), len(nodes)
			nodes = append(nodes, nil)
		}
		nodes[at] = append(nodes[at], id)
	}
	return nodes
}
