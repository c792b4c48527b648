package evidence

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// HistorySource is what the store has of a daemon's chain, from the record on in
// which sequence is, up to record end; and then a checkpoint, where one is given.
func HistorySource(st *store.Store, id identity.EntityID, sequence, end uint64, last *chain.Checkpoint) (chain.Source, error) {
	from := uint64(0)
	err := st.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if e, ok := journal.ReadEvent(b); ok && e.Before.Sequence < sequence {
			from = index
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func(t *chain.Claims) error {
		err := st.ReadHistory(id, from, end, func(_ uint64, b []byte) error { return AddRecord(t, b) })
		if err == nil && last != nil {
			t.Stated(last)
		}
		return err
	}, nil
}

// AddRecord adds what one record of a history says.
func AddRecord(t *chain.Claims, b []byte) error {
	rec, err := journal.Decode(b)
	if err != nil {
		return err
	}
	switch rec := rec.(type) {
	case *journal.Begin:
		t.Output(&rec.Head, rec.HeadPayload, rec.Head.Hash(rec.HeadPayload))
		t.Stated(&rec.Checkpoint)
	case *journal.Event:
		for _, o := range rec.Links() {
			t.Output(&o.Link, o.Payload, o.Link.Hash(o.Payload))
		}
	case *journal.Checkpoint:
		t.Stated(&rec.Checkpoint)
	case *journal.Move:
		t.Stated(&rec.Checkpoint)
	case *journal.Upgrade:
		t.Stated(&rec.Checkpoint)
	case *journal.Mend:
		t.Stated(&rec.Checkpoint)
	}
	return nil
}

// SnapshotSource is what a snapshot says of a chain: its head, signed.
func SnapshotSource(s *snapshot.Snapshot) chain.Source {
	return func(t *chain.Claims) error {
		t.Output(&s.Header.Head, s.Header.HeadPayload, s.Checkpoint.Head)
		t.Stated(&s.Checkpoint)
		return nil
	}
}
