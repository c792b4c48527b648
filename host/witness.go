package host

import (
	"errors"
	"fmt"

	"wasmhost/host/internal/lifecycle"
	"wasmhost/host/migration"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/wire/canon"
)

// maxWitnessed bounds the payload that is kept with a daemon's last word.
const maxWitnessed = 4 << 10 // bytes of the payload that is kept with a daemon's last word

// lastWord is what the daemon signed last before it leaves: the hand-over, or
// where it stood when it was stopped. nil where it signs nothing. It needs d.mu.
func (r *Runtime) lastWord(d *hosted, stopped bool) []byte {
	check := &Checkpoint{}
	if stopped {
		if d.life.State() == lifecycle.Passive || d.chain.Head().Sequence == 0 {
			return nil // its key is not at hand, or it said nothing
		}
		check = d.checkpointFor(PurposeExport, d.epoch)
		if err := check.sign(d.key); err != nil {
			return nil
		}
	} else {
		r.mu.RLock()
		m := r.outgoing[d.id]
		r.mu.RUnlock()
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
	s := Statement{Links: []StatedLink{}, Checkpoint: *check}
	if head := d.chain.Head(); len(d.payload) <= maxWitnessed && head.Hash(d.payload) == check.Head {
		s.Links = append(s.Links, StatedLink{Link: head, Payload: d.payload})
	}
	b, err := canon.Marshal(&s)
	if err != nil {
		r.logger.Error("keeping a daemon's last word", "daemon", d.id.Origin(), "error", err)
		return nil
	}
	return b
}

// witness returns the daemon's last word to this node; nil when there is none.
func (r *Runtime) witness(id identity.EntityID) (*Statement, error) {
	if r.store == nil {
		return nil, nil
	}
	b, err := r.store.Get(store.Witnesses, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &Statement{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: the last word of daemon %s: %w", store.ErrCorrupt, id.Origin(), err)
	}
	return s, nil
}

// source is the statement as a chain of its own.
func (s *Statement) source(t *testimony) error {
	for i := range s.Links {
		l := &s.Links[i]
		t.output(&l.Link, l.Payload, l.Link.Hash(l.Payload))
	}
	t.stated(&s.Checkpoint)
	return nil
}

// historySource is what the store has of a daemon's chain, from the record on in
// which sequence is, up to record end; and then a checkpoint, where one is given.
func (r *Runtime) historySource(id identity.EntityID, sequence, end uint64, last *Checkpoint) (source, error) {
	from := uint64(0)
	err := r.store.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if e, ok := readEvent(b); ok && e.Before.Sequence < sequence {
			from = index
			return store.ErrStop
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return func(t *testimony) error {
		err := r.store.ReadHistory(id, from, end, func(_ uint64, b []byte) error { return testify(t, b) })
		if err == nil && last != nil {
			t.stated(last)
		}
		return err
	}, nil
}

// testify adds what one record of a history says.
func testify(t *testimony, b []byte) error {
	rec, err := decodeRecord(b)
	if err != nil {
		return err
	}
	switch rec := rec.(type) {
	case *beginRecord:
		t.output(&rec.Head, rec.HeadPayload, rec.Head.Hash(rec.HeadPayload))
		t.stated(&rec.Checkpoint)
	case *eventRecord:
		for _, o := range rec.links() {
			t.output(&o.Link, o.Payload, o.Link.Hash(o.Payload))
		}
	case *checkpointRecord:
		t.stated(&rec.Checkpoint)
	case *moveRecord:
		t.stated(&rec.Checkpoint)
	case *upgradeRecord:
		t.stated(&rec.Checkpoint)
	case *mendRecord:
		t.stated(&rec.Checkpoint)
	}
	return nil
}

// source is what a snapshot says of a chain: its head, signed.
func (s *Snapshot) source(t *testimony) error {
	t.output(&s.Header.Head, s.Header.HeadPayload, s.Checkpoint.Head)
	t.stated(&s.Checkpoint)
	return nil
}

// suspect holds what came in a daemon's name against what this node knows. A
// contradiction goes on record, and is an *EquivocationError.
func (r *Runtime) suspect(id identity.EntityID, known, came source) error {
	e, err := prove(func() identity.EntityID { return id }, known, came)
	if err != nil {
		r.logger.Warn("comparing what is known of a daemon with what came", "daemon", id.Origin(), "error", err)
		return nil // what cannot be proven is no ground to refuse
	}
	if e == nil {
		return nil
	}
	c, err := e.conflict()
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
	return &EquivocationError{c}
}

// suspect does so with a daemon that is on its way here: its snapshot, and
// the history that came before it.
func (in *incoming) suspect(s *Snapshot) error {
	err := in.compare(s)
	if errors.Is(err, ErrEquivocated) {
		return migration.Failf(migration.Equivocated, "%v", err)
	}
	return err
}

func (in *incoming) compare(s *Snapshot) error {
	r, id := in.rt, in.offer.Entity
	w, err := r.witness(id)
	if err != nil || w == nil {
		return err
	}
	if in.history == 0 {
		return r.suspect(id, w.source, s.source)
	}
	written := make(chan error, 1) // what was submitted before can then be read
	if err := in.submit(&store.Batch{}, func(err error) { written <- err }); err != nil {
		return err
	}
	if err := <-written; err != nil {
		return err
	}
	came, err := r.historySource(id, w.from(), in.history, &s.Checkpoint)
	if err != nil {
		return err
	}
	return r.suspect(id, w.source, came)
}

// from is the sequence of the first link that the statement is about.
func (s *Statement) from() uint64 {
	if len(s.Links) > 0 {
		return s.Links[0].Link.Sequence
	}
	return s.Checkpoint.Sequence
}

// suspectSnapshot does so with a snapshot that is to be restored, and with the
// daemon itself, where it is here.
func (r *Runtime) suspectSnapshot(s *Snapshot) error {
	id := s.Header.Entity
	if r.store == nil {
		return nil
	}
	r.mu.RLock()
	d := r.daemons[id]
	r.mu.RUnlock()
	if d == nil || d.kind == "" {
		w, err := r.witness(id)
		if err != nil || w == nil {
			return err
		}
		return r.suspect(id, w.source, s.source)
	}
	d.mu.Lock()
	end, last := d.index, d.last
	word := d.checkpointFor(PurposeExport, d.epoch)
	err := word.sign(d.key) // leaves it empty where the key is not at hand
	d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := last.wait(r.ctx); err != nil {
		return err
	}
	known, err := r.historySource(id, s.Header.Through, end, word)
	if err != nil {
		return err
	}
	return r.suspect(id, known, s.source)
}
