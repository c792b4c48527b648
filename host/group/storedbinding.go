package group

import (
	"errors"
	"fmt"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// bindingRecord is how a sender's binding is kept: canonical CBOR, under the group's name,
// a zero byte, which no name has, and the sender.
type bindingRecord struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Floor   uint64
	UpTo    uint64
	Time    int64
	Runs    []runRecord
}

type runRecord struct {
	_    struct{} `cbor:",toarray"`
	From uint64
	Born uint64
}

const bindingVersion = 1

func bindingKey(group string, sender identity.EntityID) []byte {
	return append(append(append(make([]byte, 0, len(group)+1+len(sender)), group...), 0), sender[:]...)
}

func encodeBinding(b Binding) ([]byte, error) {
	rec := bindingRecord{Version: bindingVersion, Floor: b.Floor, UpTo: b.UpTo, Time: b.Time}
	for _, run := range b.Runs {
		rec.Runs = append(rec.Runs, runRecord{From: run.From, Born: run.Born})
	}
	return canon.Marshal(&rec)
}

func decodeBinding(sender identity.EntityID, value []byte) (Binding, error) {
	var rec bindingRecord
	if err := canon.Unmarshal(value, &rec); err != nil {
		return Binding{}, err
	}
	if rec.Version != bindingVersion || len(rec.Runs) == 0 || len(rec.Runs) > maxRuns {
		return Binding{}, fmt.Errorf("version %d, %d runs", rec.Version, len(rec.Runs))
	}

	b := Binding{Sender: sender, Floor: rec.Floor, UpTo: rec.UpTo, Time: rec.Time}
	before := rec.Floor
	for _, run := range rec.Runs {
		if run.From <= before || run.From > rec.UpTo {
			return Binding{}, errors.New("its runs are out of order")
		}
		before = run.From
		b.Runs = append(b.Runs, Run{From: run.From, Born: run.Born})
	}

	return b, nil
}

// Bindings implements Registry.
func (s *Stored) Bindings(group string, fn func(Binding) error) error {
	prefix := bindingKey(group, identity.EntityID{})[:len(group)+1]
	return s.store.ScanPrefix(store.Bindings, prefix, func(k, v []byte) error {
		var sender identity.EntityID
		err := sender.UnmarshalBinary(k[len(prefix):])
		var b Binding
		if err == nil {
			b, err = decodeBinding(sender, v)
		}

		if err != nil {
			return fmt.Errorf("%w: whose events a member of group %q has: %w", store.ErrCorrupt, group, err)
		}
		return fn(b)
	})
}

// Bind implements Registry.
func (s *Stored) Bind(group string, b Binding) error {
	value, err := encodeBinding(b)
	if err != nil {
		return err
	}
	batch := &store.Batch{}
	batch.Put(store.Bindings, bindingKey(group, b.Sender), value)
	return s.store.Commit(batch)
}

// Unbind implements Registry.
func (s *Stored) Unbind(group string, senders []identity.EntityID) error {
	const many = 4096 // in one batch
	for len(senders) > 0 {
		batch := &store.Batch{}
		n := min(len(senders), many)
		for _, sender := range senders[:n] {
			batch.Delete(store.Bindings, bindingKey(group, sender))
		}

		if err := s.store.Commit(batch); err != nil {
			return err
		}

		senders = senders[n:]
	}

	return nil
}
