package control

import (
	"context"
	"errors"
	"slices"
	"sync"

	"wasmhost/identity"
	"wasmhost/wire"
)

// askAll asks every trusted node the same, all at once. What a node answers is under its
// id. One that answers with a Problem, or that does not trust this node, has nothing to
// say; silent are those that did not answer in askTimeout.
func askAll[T any](ctx context.Context, s *Server, ask func(context.Context, *Client) (T, error)) (said map[identity.NodeID]T, silent []identity.NodeID, err error) {
	peers, err := s.mesh.Peers()
	if err != nil {
		return nil, nil, err
	}
	return askThese(ctx, s, peers, ask)
}

// askThese is askAll of some of the trusted nodes.
func askThese[T any](ctx context.Context, s *Server, peers []wire.PeerInfo, ask func(context.Context, *Client) (T, error)) (said map[identity.NodeID]T, silent []identity.NodeID, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	said = make(map[identity.NodeID]T)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() {
			v, err := ask(ctx, peerClient(s.mesh, p.ID))
			mu.Lock()
			defer mu.Unlock()
			var problem *Problem
			switch {
			case err == nil:
				said[p.ID] = v
			case errors.As(err, &problem) || errors.Is(err, wire.ErrUntrusted):
				s.logger.Debug("a peer has no answer", "peer", p.ID, "error", err)
			default:
				s.logger.Debug("a peer does not answer", "peer", p.ID, "error", err)
				silent = append(silent, p.ID)
			}
		})
	}
	wg.Wait()
	slices.Sort(silent)
	return said, silent, nil
}
