package host

import (
	"errors"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// lastWord is what the daemon signed last before it leaves: the hand-over, or
// where it stood when it was stopped. nil where it signs nothing. It needs d.mu.
func (r *Runtime) lastWord(d *engine.Daemon, stopped bool) *chain.Checkpoint {
	check := &chain.Checkpoint{}
	if stopped {
		if d.Position().State == lifecycle.Passive || d.Position().Head.Sequence == 0 {
			return nil // its key is not at hand, or it said nothing
		}
		check = d.Image().CheckpointFor(chain.PurposeExport, d.Position().Epoch)
		if err := check.Sign(d.Position().Key); err != nil {
			return nil
		}
	} else {
		m := r.table.Look(d.Entity()).Leaving
		if m == nil {
			return nil
		}
		rel := m.Release()
		if rel == nil || canon.Unmarshal(rel.Checkpoint, check) != nil {
			return nil
		}
	}
	if check.Verify() != nil {
		return nil // it says nothing
	}
	return check
}

// historySource is what the store has of a daemon's chain, from the record on in
// which sequence is, up to record end; and then a checkpoint, where one is given.
func (r *Runtime) historySource(id identity.EntityID, sequence, end uint64, last *chain.Checkpoint) (chain.Source, error) {
	from := uint64(0)
	err := r.env.Store.ReadHistoryBackward(id, func(index uint64, b []byte) error {
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
		err := r.env.Store.ReadHistory(id, from, end, func(_ uint64, b []byte) error { return testify(t, b) })
		if err == nil && last != nil {
			t.Stated(last)
		}
		return err
	}, nil
}

// testify adds what one record of a history says.
func testify(t *chain.Claims, b []byte) error {
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

// source is what a snapshot says of a chain: its head, signed.
func snapshotSource(s *snapshot.Snapshot) chain.Source {
	return func(t *chain.Claims) error {
		t.Output(&s.Header.Head, s.Header.HeadPayload, s.Checkpoint.Head)
		t.Stated(&s.Checkpoint)
		return nil
	}
}

// suspect compares a daemon that is on its way here, its snapshot and the history that
// came before it, with its last word to this node.
func (in *incoming) suspect(s *snapshot.Snapshot) error {
	err := in.compare(s)
	if errors.Is(err, chain.ErrEquivocated) {
		return migration.Failf(migration.Equivocated, "%v", err)
	}
	return err
}

func (in *incoming) compare(s *snapshot.Snapshot) error {
	r, id := in.rt, in.offer.Entity
	w, err := r.evidence.LastWord(id)
	if err != nil || w == nil {
		return err
	}
	if in.history == 0 {
		return r.evidence.Compare(id, w.Source, snapshotSource(s))
	}
	written := make(chan error, 1) // what was submitted before can then be read
	if err := in.submit(&store.Batch{}, func(err error) { written <- err }); err != nil {
		return err
	}
	if err := <-written; err != nil {
		return err
	}
	came, err := r.historySource(id, w.From(), in.history, &s.Checkpoint)
	if err != nil {
		return err
	}
	return r.evidence.Compare(id, w.Source, came)
}

// suspectSnapshot compares so a snapshot that is to be restored, and with the
// daemon itself, where it is here.
func (r *Runtime) suspectSnapshot(s *snapshot.Snapshot) error {
	id := s.Header.Entity
	if r.env.Store == nil {
		return nil
	}
	d := r.table.Daemon(id)
	if d == nil || d.Kind() == "" {
		w, err := r.evidence.LastWord(id)
		if err != nil || w == nil {
			return err
		}
		return r.evidence.Compare(id, w.Source, snapshotSource(s))
	}
	d.Lock()
	end, last := d.Position().Next, d.Position().Last
	word := d.Image().CheckpointFor(chain.PurposeExport, d.Position().Epoch)
	err := word.Sign(d.Position().Key) // leaves it empty where the key is not at hand
	d.Unlock()
	if err != nil {
		return err
	}
	if err := last.Wait(r.env.Context); err != nil {
		return err
	}
	known, err := r.historySource(id, s.Header.Through, end, word)
	if err != nil {
		return err
	}
	return r.evidence.Compare(id, known, snapshotSource(s))
}
