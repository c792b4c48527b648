package server

import (
	"context"
	"errors"
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

// happeningsOfAll merges what happens on this node, and happened since a time, with what its
// peers tell it.
// A peer that does not answer is asked again until the client leaves.
func (s *Server) happeningsOfAll(w http.ResponseWriter, r *http.Request, since time.Time) error {
	ctx, cancel := context.WithCancel(r.Context())
	var peers sync.WaitGroup
	defer peers.Wait()
	defer cancel()
	here, theirs := s.rt.Notifications(ctx, since), make(chan api.Happening)
	peers.Go(func() { s.followPeers(ctx, since, theirs) })
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
func (s *Server) followPeers(ctx context.Context, since time.Time, out chan<- api.Happening) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	followed, told := make(map[identity.NodeID]bool), make(map[identity.NodeID]bool) // told: what was before
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
			from := since
			if told[p.ID] {
				from = time.Time{}
			}
			told[p.ID] = true
			wg.Go(func() {
				if err := s.followPeer(ctx, p, from, out); err != nil && ctx.Err() == nil {
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
func (s *Server) followPeer(ctx context.Context, p wire.PeerInfo, since time.Time, out chan<- api.Happening) error {
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
	pass := func(h api.Happening) error {
		if left != nil {
			return left
		}
		return tell(h)
	}
	err := c.HappeningsSince(ctx, since, false, began, pass)
	if p, ok := errors.AsType[*api.Problem](err); ok && p.Code == "bad-request" && !since.IsZero() { // it is older, and knows no past
		err = c.Happenings(ctx, false, began, pass)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
