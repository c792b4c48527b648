package host

import (
	"context"
	"crypto/sha256"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Snapshot returns the daemon's state, signed by the daemon, with its identity
// sealed to this node where it has a private key. A stateless daemon has no
// snapshot: nil, nil. ErrNotPortable where the state cannot be captured.
func (r *Runtime) Snapshot(ctx context.Context, id identity.EntityID) (*snapshot.Snapshot, error) {
	return r.snapshotAs(ctx, id, (*hosted).form)
}

// SnapshotGiven is Snapshot with the state as the daemon's own code gives it
// (wasmhost_snapshot), which other versions of the code can read.
// ErrNotPortable where the code gives none.
func (r Daemons) SnapshotGiven(ctx context.Context, id identity.EntityID) (*snapshot.Snapshot, error) {
	return r.rt.snapshotAs(ctx, id, func(*hosted) snapshot.Form { return snapshot.FormGiven })
}

func (r *Runtime) snapshotAs(ctx context.Context, id identity.EntityID, form func(*hosted) snapshot.Form) (*snapshot.Snapshot, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if err := d.look(ctx); err != nil {
		return nil, err
	}
	s, last, err := d.snapshotForCaller(form(d))
	d.Unlock()
	if err != nil || s == nil {
		return nil, err
	}
	return s, last.wait(ctx) // what it contains must not be lost after it was given away
}

// snapshotForCaller needs d.mu.
func (d *hosted) snapshotForCaller(form snapshot.Form) (*snapshot.Snapshot, *ticket, error) {
	if d.stateless() {
		return nil, nil, nil
	}
	s, err := d.snapshotOf(form, true, false)
	if err != nil {
		return nil, nil, err
	}
	lasting, err := d.lastingNow()
	if err != nil {
		return nil, nil, err
	}
	s.Header.SetFacts(lasting)
	if err := s.Seal(d.key); err != nil {
		return nil, nil, err
	}
	if s.State == nil { // the code gives none
		if _, ok := d.daemon.(capturer); ok {
			return nil, nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), daemon.ErrNotPortable)
		}
		return nil, nil, nil
	}
	return s, d.last, nil
}

// snapshot captures the daemon; withKey seals its identity to this node. It
// needs d.mu.
func (d *hosted) snapshot(withKey bool) (*snapshot.Snapshot, error) {
	return d.snapshotOf(d.form(), withKey, false)
}

// snapshotOf is snapshot of a form. For the store a large state goes to a file.
func (d *hosted) snapshotOf(form snapshot.Form, withKey, forStore bool) (_ *snapshot.Snapshot, err error) {
	if err := d.portable(); err != nil {
		return nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), err)
	}
	s, err := d.header(form)
	if err != nil {
		return nil, err
	}
	switch s.Header.Form {
	case snapshot.FormMemory:
		to := snapshot.NewBuffer(d.limits().StateBytes)
		if forStore {
			to.Spill(int64(d.apartFrom()), func() (*store.StateFile, error) { return d.env.Store.NewState(d.id) })
		}
		err = d.daemon.(capturer).SaveMemory(to)
		s.Capture(to)
		if file := s.StateFile(); file != nil {
			defer func() {
				if err != nil {
					file.Discard()
				}
			}()
		}
	case snapshot.FormGiven:
		s.State, err = d.daemon.Snapshot(d.stateCall())
	}
	if err != nil {
		return nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), err)
	}
	if s.Header.Form == snapshot.FormGiven && int64(len(s.State)) > d.limits().StateBytes {
		return nil, fmt.Errorf("daemon %s: %w: it has %d bytes, at most %d", d.id.Origin(), daemon.ErrStateTooLarge, len(s.State), d.limits().StateBytes)
	}
	if withKey && d.key.CanSign() {
		own, err := d.env.Node.SealKey()
		if err != nil {
			return nil, err
		}
		env, err := identity.Seal(d.key, own, s.Header.Head.Bytes())
		if err != nil {
			return nil, err
		}
		s.Header.Envelope = env.Bytes()
	}
	if s.StateFile() == nil {
		s.Header.StateHash = sha256.Sum256(s.State)
	}
	if err := s.Seal(d.key); err != nil {
		return nil, err
	}
	return s, nil
}

// header is a snapshot that lacks its state and signature. It needs d.mu.
func (d *hosted) header(form snapshot.Form) (*snapshot.Snapshot, error) {
	return d.headerWith(form, d.horizon.List())
}

func (d *hosted) headerWith(form snapshot.Form, marks []snapshot.SenderMark) (*snapshot.Snapshot, error) {
	bindings, err := d.ledger.Encode()
	if err != nil {
		return nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), err)
	}
	effects, err := d.effects.Encode()
	if err != nil {
		return nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), err)
	}
	s := &snapshot.Snapshot{Header: snapshot.Header{
		Entity: d.id, Name: d.name, Kind: d.kind, Module: d.module, Config: d.config, Epoch: d.epoch,
		Through: d.chain.Head().Sequence, Head: d.chain.Head(), HeadPayload: append([]byte(nil), d.payload...),
		Applied: d.applied, LastTime: d.lastTime, Horizon: marks, Form: form, Limits: d.own().Map(),
		CreatedAt: d.env.Clock().UnixNano(), Bindings: bindings, Effects: effects,
	}}
	s.Header.Version = s.Header.FormVersion()
	return s, nil
}

// form is how the daemon's state is captured.
func (d *hosted) form() snapshot.Form {
	if d.stateless() {
		return snapshot.FormNone
	}
	if _, ok := d.daemon.(capturer); ok {
		return snapshot.FormMemory
	}
	return snapshot.FormGiven
}
