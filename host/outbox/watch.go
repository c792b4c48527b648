package outbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/identity"
)

// Callers are this node's daemons that have asked others.
type Callers interface {
	// Waits reports whether the daemon is here and waits for an answer of the other. With
	// gone it is told that there is no such daemon: its calls end.
	Waits(ctx context.Context, asker, asked identity.EntityID, gone bool) (bool, error)
}

// Watch sees to calls whose daemon was removed after it had been asked: nobody answers
// them. It looks from time to time whether the daemons that were asked are still there.
// It is safe for concurrent use.
type Watch struct {
	env     *env.Env
	sender  *Sender
	callers Callers

	mu    sync.Mutex // after the daemons' locks
	asked map[identity.EntityID]*askedOf
}

// askedOf is who waits for an answer of one daemon.
type askedOf struct {
	askers map[identity.EntityID]bool
	gone   time.Time // since when every node that answers denies to have the daemon; zero: none does
}

// watchEvery is how often a daemon that was asked is looked for.
const watchEvery = time.Minute

// NewWatch returns a watch of no calls.
func NewWatch(e *env.Env, s *Sender, c Callers) *Watch {
	return &Watch{env: e, sender: s, callers: c, asked: make(map[identity.EntityID]*askedOf)}
}

// Add has the watch look after calls of one daemon to another. The caller may have the
// asker's lock.
func (w *Watch) Add(asker, asked identity.EntityID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.asked[asked]
	if of == nil {
		of = &askedOf{askers: make(map[identity.EntityID]bool)}
		w.asked[asked] = of
	}
	of.askers[asker] = true
}

// Start looks after the calls until the runtime ends.
func (w *Watch) Start() {
	w.env.Background(func(ctx context.Context) {
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				w.round(ctx)
			case <-ctx.Done():
				return
			}
		}
	})
}

// round looks once for each daemon that was asked.
func (w *Watch) round(ctx context.Context) {
	w.mu.Lock()
	all := make([]identity.EntityID, 0, len(w.asked))
	for id := range w.asked {
		all = append(all, id)
	}
	w.mu.Unlock()

	for _, id := range all {
		if ctx.Err() != nil {
			return
		}
		w.look(ctx, id, w.isGone(ctx, id))
	}
}

// isGone reports whether every node that answers has said for long enough that it does not
// have the daemon.
func (w *Watch) isGone(ctx context.Context, id identity.EntityID) bool {
	err := w.sender.search(id, func(at, by identity.NodeID) error {
		if at == w.env.Self {
			if _, here := w.sender.locator.Believed(id); !here {
				return channel.ErrNoReceiver
			}
		}
		return w.sender.prove(ctx, id, at, by)
	})

	w.mu.Lock()
	defer w.mu.Unlock()
	of := w.asked[id]
	if of == nil {
		return false
	}

	now := w.env.Clock()
	switch {
	case !errors.Is(err, channel.ErrNoReceiver):
		of.gone = time.Time{}
		return false
	case of.gone.IsZero():
		of.gone = now
	}

	return now.Sub(of.gone) >= unknownTimeout
}

// look asks who waited for the daemon whether it still does, and tells it where the daemon
// is gone.
func (w *Watch) look(ctx context.Context, id identity.EntityID, gone bool) {
	w.mu.Lock()
	var askers []identity.EntityID
	for asker := range w.asked[id].askers {
		askers = append(askers, asker)
	}
	w.mu.Unlock()

	for _, asker := range askers {
		waits, err := w.callers.Waits(ctx, asker, id, gone)
		if err != nil {
			w.env.Logger.Debug("a call could not be looked after", "daemon", asker.Origin(), "asked", id.Origin(), "error", err)
			continue
		}
		if waits {
			continue
		}

		w.mu.Lock()
		delete(w.asked[id].askers, asker)
		w.mu.Unlock()
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.asked[id].askers) == 0 {
		delete(w.asked, id)
	}
}
