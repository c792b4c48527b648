package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Revoke takes a revocation of tokens into account, durably, and passes it on to
// every peer. Errors: identity.ErrTokenSignature,
// identity.ErrTooManyRevocations, and those of the store.
func (b *Broker) Revoke(_ context.Context, rev *identity.Revocation) error {
	if err := b.mayWrite(); err != nil {
		return err
	}
	raised, err := b.revoke(rev)
	if err == nil && raised {
		b.spread()
	}
	return err
}

// Revocations returns the revocations that this node knows.
func (b *Broker) Revocations() []*identity.Revocation {
	ids := b.verifier.Revokers()
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*identity.Revocation, 0, len(ids))
	for _, id := range ids {
		if rev := b.revoked[id]; rev != nil {
			out = append(out, rev)
		}
	}

	return out
}

// revoke reports whether the revocation was news.
func (b *Broker) revoke(rev *identity.Revocation) (bool, error) {
	if rev.Floor <= b.verifier.Floor(rev.Issuer) {
		return false, nil
	}
	if err := rev.Verify(); err != nil {
		return false, err
	}

	if s := b.env.Store; s != nil {
		enc, err := rev.Bytes()
		if err != nil {
			return false, err
		}

		batch := &store.Batch{}
		batch.Put(store.Revoked, rev.Issuer[:], enc)
		if err := s.Commit(batch); err != nil {
			return false, fmt.Errorf("storing a revocation: %w", err)
		}
	}

	return b.note(rev)
}

func (b *Broker) note(rev *identity.Revocation) (bool, error) {
	raised, err := b.verifier.Revoke(rev)
	if !raised || err != nil {
		return false, err
	}

	b.mu.Lock()
	b.revoked[rev.Issuer] = rev
	b.mu.Unlock()
	b.recheck()
	return true, nil
}

func (b *Broker) recoverRevocations() error {
	return b.env.Store.Scan(store.Revoked, func(k, v []byte) error {
		rev, err := identity.ParseRevocation(v)
		if err == nil {
			_, err = b.note(rev)
		}

		if err != nil {
			return fmt.Errorf("%w: the revocation of %x: %w", store.ErrCorrupt, k, err)
		}
		return nil
	})
}

// spread exchanges revocations with every peer, each on a goroutine of its own.
func (b *Broker) spread() {
	for _, id := range b.cfg.Peers.PeerIDs() {
		began := b.env.Background(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
			defer cancel()
			if err := b.exchange(ctx, id); err != nil {
				b.env.Logger.Debug("exchanging revocations", "peer", id, "error", err)
			}
		})
		if !began {
			return
		}
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
func (b *Broker) exchange(ctx context.Context, id identity.NodeID) error {
	c, err := b.cfg.Peers.OpenChannel(ctx, id)
	if err != nil {
		return err
	}

	defer c.Abort()

	if err := b.sendRevocations(c); err != nil {
		return err
	}

	news, err := b.receiveRevocations(c)
	if err == nil && news {
		b.spread()
	}
	return err
}

// sendRevocations sends all that are known here, and an empty list to end with.
func (b *Broker) sendRevocations(c channel.Conn) error {
	list := b.Revocations()
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

// receiveRevocations takes revocations until an empty list says that there are no more.
func (b *Broker) receiveRevocations(c channel.Conn) (news bool, err error) {
	for {
		msg, err := c.Recv()
		if err != nil {
			return news, err
		}

		m, ok := msg.(*channel.Revocations)
		if !ok {
			return news, fmt.Errorf("%w: a %T among revocations", channel.ErrBadMessage, msg)
		}

		raised, err := b.takeRevocations(m)
		news = news || raised
		if err != nil || len(m.List) == 0 {
			return news, err
		}
	}
}

// takeRevocations reports whether any of them was news.
func (b *Broker) takeRevocations(m *channel.Revocations) (news bool, err error) {
	for _, enc := range m.List {
		rev, err := identity.ParseRevocation(enc)
		if err != nil {
			return news, err
		}

		raised, err := b.revoke(rev)
		if err != nil {
			return news, err
		}

		news = news || raised
	}

	return news, nil
}

// ServeRevocations answers an exchange that a peer began with first.
func (b *Broker) ServeRevocations(c channel.Conn, first *channel.Revocations) error {
	news, err := b.takeRevocations(first)
	if err == nil && len(first.List) > 0 {
		var more bool
		more, err = b.receiveRevocations(c)
		news = news || more
	}

	if err != nil {
		return err
	}

	if news {
		b.spread()
	}
	return b.sendRevocations(c)
}
