package broker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The channels of a node that is restored from a backup go on as others: what they
// published after the backup is lost, and its sequences are given again. When the node is
// confirmed each of its channels has a new birth. Who heard it under an earlier one goes on
// where both have the same events, and what is published from then on is no repeat.

// maxFormer bounds the births that a channel remembers, the newest.
const maxFormer = 32

// storedRebirth is how the store keeps under which birth a channel goes on that had others.
type storedRebirth struct {
	_      struct{} `cbor:",toarray"`
	Born   []byte   // drawn at random, 16 bytes
	Former []formerBirth
}

// formerBirth is a birth that a channel had.
type formerBirth struct {
	_      struct{} `cbor:",toarray"`
	Source []byte   // the sender of its events then
	Head   uint64   // sequence up to which the events of then and now are the same
}

func rebirthKey(born []byte) []byte { return append([]byte("rebirth/"), born...) }

// Confirm commits the batch by which a restored node goes on, and with it that each of its
// channels has a new birth. The channels are closed until the caller opens them.
func (b *Broker) Confirm(batch *store.Batch) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var shown []func()

	for _, c := range b.channels {
		show, err := c.putRebirth(batch)
		if err != nil {
			return err
		}
		shown = append(shown, show)
	}

	if err := b.env.Store.Commit(batch); err != nil {
		return err
	}

	for _, show := range shown {
		show()
	}
	return nil
}

// putRebirth adds to the batch that the channel goes on under a new birth. The function
// that it returns shows it, once that is durable. The channel is closed.
func (c *Channel) putRebirth(batch *store.Batch) (show func(), err error) {
	born := make([]byte, 16)
	if _, err := rand.Read(born); err != nil {
		return nil, err
	}

	c.mu.Lock()
	head := c.log.Next() - 1
	former := []formerBirth{{Source: slices.Clone(c.source[:]), Head: head}}

	for _, f := range c.former {
		if len(former) < maxFormer {
			f.Head = min(f.Head, head)
			former = append(former, f)
		}
	}
	c.mu.Unlock()

	value, err := canon.Marshal(&storedRebirth{Born: born, Former: former})
	if err != nil {
		return nil, err
	}

	batch.Put(store.Meta, rebirthKey(c.rec.Born), value)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.source, c.former = channel.SourceOf(c.broker.env.Self, [16]byte(born), c.name), former
	}, nil
}

// recoverRebirth reads under which birth the channel goes on, where it is not the first.
func (c *Channel) recoverRebirth() error {
	value, err := c.broker.env.Store.Get(store.Meta, rebirthKey(c.rec.Born))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}

	rec, err := decodeRebirth(value)
	if err != nil {
		return fmt.Errorf("%w: births of channel %q: %w", store.ErrCorrupt, c.name, err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	c.source, c.former = channel.SourceOf(c.broker.env.Self, [16]byte(rec.Born), c.name), rec.Former
	return nil
}

// decodeRebirth reads a storedRebirth, strictly.
func decodeRebirth(b []byte) (rec storedRebirth, err error) {
	if err = canon.Unmarshal(b, &rec); err == nil {
		err = rec.validate()
	}
	return rec, err
}

func (s *storedRebirth) validate() error {
	if len(s.Born) != 16 || len(s.Former) > maxFormer {
		return errors.New("not a birth and those before")
	}

	for _, f := range s.Former {
		if len(f.Source) != len(identity.EntityID{}) {
			return errors.New("the source of an earlier birth is too short or too long")
		}
	}
	return nil
}

// sameUntil returns up to which sequence a birth that is given by the beginning of its
// source has the events that the channel has; ok: it is an earlier birth of the channel.
func (c *Channel) sameUntil(source []byte) (head uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.former {
		if len(source) <= len(f.Source) && string(f.Source[:len(source)]) == string(source) {
			return f.Head, true
		}
	}

	return 0, false
}
