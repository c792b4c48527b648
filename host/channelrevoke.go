package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/store"
	"wasmhost/identity"
)

// Revoke takes a revocation of tokens into account, durably, and passes it on to
// every peer. Errors: identity.ErrTokenSignature,
// identity.ErrTooManyRevocations, and those of the store.
func (r *Runtime) Revoke(_ context.Context, rev *identity.Revocation) error {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return err
	}
	raised, err := r.hub.revoke(rev)
	if err == nil && raised {
		r.hub.spread()
	}
	return err
}

// Revocations returns the revocations that this node knows.
func (r *Runtime) Revocations() []*identity.Revocation { return r.hub.revocations() }

func (h *hub) revocations() []*identity.Revocation {
	ids := h.verifier.Revokers()
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]*identity.Revocation, 0, len(ids))
	for _, id := range ids {
		if rev := h.revoked[id]; rev != nil {
			out = append(out, rev)
		}
	}
	return out
}

// revoke reports whether the revocation was news.
func (h *hub) revoke(rev *identity.Revocation) (bool, error) {
	if rev.Floor <= h.verifier.Floor(rev.Issuer) {
		return false, nil
	}
	if err := rev.Verify(); err != nil {
		return false, err
	}
	if s := h.env.Store; s != nil {
		enc, err := rev.Bytes()
		if err != nil {
			return false, err
		}
		b := &store.Batch{}
		b.Put(store.Revoked, rev.Issuer[:], enc)
		if err := s.Commit(b); err != nil {
			return false, fmt.Errorf("storing a revocation: %w", err)
		}
	}
	return h.note(rev)
}

func (h *hub) note(rev *identity.Revocation) (bool, error) {
	raised, err := h.verifier.Revoke(rev)
	if !raised || err != nil {
		return false, err
	}
	h.mu.Lock()
	h.revoked[rev.Issuer] = rev
	h.mu.Unlock()
	h.recheck()
	return true, nil
}

func (h *hub) recoverRevocations() error {
	return h.env.Store.Scan(store.Revoked, func(k, v []byte) error {
		rev, err := identity.ParseRevocation(v)
		if err == nil {
			_, err = h.note(rev)
		}
		if err != nil {
			return fmt.Errorf("%w: the revocation of %x: %w", store.ErrCorrupt, k, err)
		}
		return nil
	})
}

// spread exchanges revocations with every peer, each on a goroutine of its own.
func (h *hub) spread() {
	r := h.rt
	lister, ok := r.mesh.(interface{ PeerIDs() []identity.NodeID })
	if !ok {
		return
	}
	for _, id := range lister.PeerIDs() {
		if !r.env.Work.Begin() {
			return
		}
		go func() {
			defer r.env.Work.Done()
			ctx, cancel := context.WithTimeout(r.env.Context, exchangeTimeout)
			defer cancel()
			if err := h.exchange(ctx, id); err != nil {
				r.env.Logger.Debug("exchanging revocations", "peer", id, "error", err)
			}
		}()
	}
}

// Revocations are exchanged with every peer so often, beside whenever one is
// news, so that who was away hears of them.
const (
	exchangeEvery   = 30 * time.Second
	exchangeTimeout = 10 * time.Second
)

// exchange tells a peer of all revocations that are known here, and hears those
// that are known there.
func (h *hub) exchange(ctx context.Context, id identity.NodeID) error {
	peer, err := h.rt.mesh.Peer(id)
	if err != nil {
		return err
	}
	c, err := peer.OpenChannel(ctx)
	if err != nil {
		return err
	}
	defer c.Abort()
	list := h.revocations()
	for {
		part := list[:min(len(list), channel.MaxRevoke)]
		list = list[len(part):]
		m, err := revocationsMessage(part)
		if err != nil {
			return err
		}
		if err := errors.Join(c.Send(m), c.Flush()); err != nil {
			return err
		}
		if len(part) == 0 {
			break
		}
	}
	news, err := h.hear(c)
	if err == nil && news {
		h.spread()
	}
	return err
}

func revocationsMessage(list []*identity.Revocation) (*channel.Revocations, error) {
	m := &channel.Revocations{}
	for _, rev := range list {
		b, err := rev.Bytes()
		if err != nil {
			return nil, err
		}
		m.List = append(m.List, b)
	}
	return m, nil
}

// hear takes revocations until an empty list says that there are no more.
func (h *hub) hear(c channel.Conn) (news bool, err error) {
	for {
		msg, err := c.Recv()
		if err != nil {
			return news, err
		}
		m, ok := msg.(*channel.Revocations)
		if !ok {
			return news, fmt.Errorf("%w: a %T among revocations", channel.ErrBadMessage, msg)
		}
		raised, err := h.take(m)
		news = news || raised
		if err != nil || len(m.List) == 0 {
			return news, err
		}
	}
}

func (h *hub) take(m *channel.Revocations) (news bool, err error) {
	for _, b := range m.List {
		rev, err := identity.ParseRevocation(b)
		if err != nil {
			return news, err
		}
		raised, err := h.revoke(rev)
		if err != nil {
			return news, err
		}
		news = news || raised
	}
	return news, nil
}

// serveRevocations answers an exchange that a peer began with first.
func (h *hub) serveRevocations(c channel.Conn, first *channel.Revocations) error {
	news, err := h.take(first)
	if err == nil && len(first.List) > 0 {
		var more bool
		more, err = h.hear(c)
		news = news || more
	}
	if err != nil {
		return err
	}
	if news {
		h.spread()
	}
	list := h.revocations()
	for {
		part := list[:min(len(list), channel.MaxRevoke)]
		list = list[len(part):]
		m, err := revocationsMessage(part)
		if err != nil {
			return err
		}
		if err := errors.Join(c.Send(m), c.Flush()); err != nil || len(part) == 0 {
			return err
		}
	}
}

// startChannels begins what goes on for channels as long as the runtime is
// ready.
func (r *Runtime) startChannels() {
	r.subs.startAll()
	r.startAllEffects()
	if !r.env.Work.Begin() {
		return
	}
	go func() {
		defer r.env.Work.Done()
		r.hub.spread()
		ticker := time.NewTicker(exchangeEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				r.hub.trim()
				if len(r.hub.verifier.Revokers()) > 0 {
					r.hub.spread() // to those who were away
				}
			case <-r.env.Context.Done():
				return
			}
		}
	}()
}
