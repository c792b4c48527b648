package host

import (
	"errors"
	"fmt"

	"wasmhost/host/chain"
	"wasmhost/host/internal/lifecycle"
	"wasmhost/host/migration"
	"wasmhost/host/snapshot"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/internal/canon"
)

// maxWitnessed bounds the payload that is kept with a daemon's last word.
const maxWitnessed = 4 << 10 // bytes of the payload that is kept with a daemon's last word

// lastWord is what the daemon signed last before it leaves: the hand-over, or
// where it stood when it was stopped. nil where it signs nothing. It needs d.mu.
func (r *Runtime) lastWord(d *hosted, stopped bool) []byte {
	check := &chain.Checkpoint{}
	if stopped {
		if d.life.State() == lifecycle.Passive || d.chain.Head().Sequence == 0 {
			return nil // its key is not at hand, or it said nothing
		}
		check = d.checkpointFor(chain.PurposeExport, d.epoch)
		if err := check.Sign(d.key); err != nil {
			return nil
		}
	} else {
		m := r.table.Look(d.id).Leaving
		if m == nil {
			return nil
		}
		m.mu.Lock()
		rel := m.release
		m.mu.Unlock()
		if rel == nil || canon.Unmarshal(rel.Checkpoint, check) != nil {
			return nil
		}
	}
	if check.Verify() != nil {
		return nil // it says nothing
	}
	s := chain.Statement{Links: []chain.StatedLink{}, Checkpoint: *check}
	if head := d.chain.Head(); len(d.payload) <= maxWitnessed && head.Hash(d.payload) == check.Head {
		s.Links = append(s.Links, chain.StatedLink{Link: head, Payload: d.payload})
	}
	b, err := canon.Marshal(&s)
	if err != nil {
		r.env.Logger.Error("keeping a daemon's last word", "daemon", d.id.Origin(), "error", err)
		return nil
	}
	return b
}

// witness returns the daemon's last word to this node; nil when there is none.
func (r *Runtime) witness(id identity.EntityID) (*chain.Statement, error) {
	if r.env.Store == nil {
		return nil, nil
	}
	b, err := r.env.Store.Get(store.Witnesses, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &chain.Statement{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: the last word of daemon %s: %w", store.ErrCorrupt, id.Origin(), err)
	}
	return s, nil
}

// historySource is what the store has of a daemon's chain, from the record on in
// which sequence is, up to record end; and then a checkpoint, where one is given.
func (r *Runtime) historySource(id identity.EntityID, sequence, end uint64, last *chain.Checkpoint) (chain.Source, error) {
	from := uint64(0)
	err := r.env.Store.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if e, ok := readEvent(b); ok && e.Before.Sequence < sequence {
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
	rec, err := decodeRecord(b)
	if err != nil {
		return err
	}
	switch rec := rec.(type) {
	case *beginRecord:
		t.Output(&rec.Head, rec.HeadPayload, rec.Head.Hash(rec.HeadPayload))
		t.Stated(&rec.Checkpoint)
	case *eventRecord:
		for _, o := range rec.links() {
			t.Output(&o.Link, o.Payload, o.Link.Hash(o.Payload))
		}
	case *checkpointRecord:
		t.Stated(&rec.Checkpoint)
	case *moveRecord:
		t.Stated(&rec.Checkpoint)
	case *upgradeRecord:
		t.Stated(&rec.Checkpoint)
	case *mendRecord:
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

// suspect holds what came in a daemon's name against what this node knows. A
// contradiction goes on record, and is an *EquivocationError.
func (r *Runtime) suspect(id identity.EntityID, known, came chain.Source) error {
	e, err := chain.FindConflict(func() identity.EntityID { return id }, known, came)
	if err != nil {
		r.env.Logger.Warn("comparing what is known of a daemon with what came", "daemon", id.Origin(), "error", err)
		return nil // what cannot be proven is no ground to refuse
	}
	if e == nil {
		return nil
	}
	c, err := e.Conflict()
	if err != nil {
		return err
	}
	r.mu.RLock()
	a := r.accused[id]
	r.mu.RUnlock()
	if a != nil && !a.Pardoned.IsZero() && c.Epoch <= a.through {
		return nil
	}
	if _, err := r.accuse(e, true); err != nil {
		return err
	}
	return &chain.EquivocationError{Conflict: c}
}

// suspect does so with a daemon that is on its way here: its snapshot, and
// the history that came before it.
func (in *incoming) suspect(s *snapshot.Snapshot) error {
	err := in.compare(s)
	if errors.Is(err, chain.ErrEquivocated) {
		return migration.Failf(migration.Equivocated, "%v", err)
	}
	return err
}

func (in *incoming) compare(s *snapshot.Snapshot) error {
	r, id := in.rt, in.offer.Entity
	w, err := r.witness(id)
	if err != nil || w == nil {
		return err
	}
	if in.history == 0 {
		return r.suspect(id, w.Source, snapshotSource(s))
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
	return r.suspect(id, w.Source, came)
}

// suspectSnapshot does so with a snapshot that is to be restored, and with the
// daemon itself, where it is here.
func (r *Runtime) suspectSnapshot(s *snapshot.Snapshot) error {
	id := s.Header.Entity
	if r.env.Store == nil {
		return nil
	}
	d := r.table.Daemon(id)
	if d == nil || d.kind == "" {
		w, err := r.witness(id)
		if err != nil || w == nil {
			return err
		}
		return r.suspect(id, w.Source, snapshotSource(s))
	}
	d.mu.Lock()
	end, last := d.index, d.last
	word := d.checkpointFor(chain.PurposeExport, d.epoch)
	err := word.Sign(d.key) // leaves it empty where the key is not at hand
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := last.wait(r.env.Context); err != nil {
		return err
	}
	known, err := r.historySource(id, s.Header.Through, end, word)
	if err != nil {
		return err
	}
	return r.suspect(id, known, snapshotSource(s))
}
