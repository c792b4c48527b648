package host

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/snapshot"
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
		return r.evidence.Compare(id, w.Source, evidence.SnapshotSource(s))
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
	known, err := evidence.HistorySource(r.env.Store, id, s.Header.Through, end, word)
	if err != nil {
		return err
	}
	return r.evidence.Compare(id, known, evidence.SnapshotSource(s))
}
