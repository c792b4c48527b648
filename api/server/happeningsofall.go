package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

const (
	maxHappening = 64 << 10        // bytes of a line from a peer
	lookForPeers = 2 * time.Second // how often nodes are looked for that are not followed yet, or no more
)

// happeningsOfAll merges what happens on this node with what its peers tell it.
// A peer that does not answer is asked again until the client leaves.
func (s *Server) happeningsOfAll(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithCancel(r.Context())
	var peers sync.WaitGroup
	defer peers.Wait()
	defer cancel()
	here, theirs := s.rt.Notifications(ctx), make(chan api.Happening)
	peers.Go(func() { s.followPeers(ctx, theirs) })
	out := lines.New(w, r)
	out.Begin()
	for {
		var h api.Happening
		select {
		case mine, ok := <-here:
			if !ok {
				return nil
			}
			h = s.happeningOf(mine)
		case h = <-theirs:
		}
		if err := out.Write(h); err != nil {
			return nil // the client is gone
		}
	}
}

// followPeers follows every peer that there is or comes, until ctx ends.
func (s *Server) followPeers(ctx context.Context, out chan<- api.Happening) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	followed := make(map[identity.NodeID]bool)
	look := func() {
		peers, err := s.mesh.Peers()
		if err != nil {
			s.logger.Warn("looking for peers to follow", "error", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, p := range peers {
			if followed[p.ID] {
				continue
			}
			followed[p.ID] = true
			wg.Go(func() {
				if err := s.followPeer(ctx, p, out); err != nil && ctx.Err() == nil {
					s.logger.Debug("a peer does not tell what happens there", "peer", p.ID, "error", err)
				}
				mu.Lock()
				delete(followed, p.ID)
				mu.Unlock()
			})
		}
	}
	again := time.NewTicker(lookForPeers)
	defer again.Stop()
	for {
		look()
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// followPeer passes on what happens on one peer. What comes is bounded, and is
// said to be the peer's whatever it says itself.
func (s *Server) followPeer(ctx context.Context, p wire.PeerInfo, out chan<- api.Happening) error {
	tell := func(h api.Happening) error {
		h.NodeID = p.ID.String()
		select {
		case out <- h:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}

	c := client.New(s.mesh.HTTPTransport(p.ID)).Reading(maxHappening)
	var left error // while the beginning was told
	began := func() { left = tell(api.Happening{Time: time.Now().UTC(), What: "following", Peer: p.ID.String()}) }
	err := c.Happenings(ctx, false, began, func(h api.Happening) error {
		if left != nil {
			return left
		}
		return tell(h)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}
