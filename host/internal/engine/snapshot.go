package engine

import (
	"crypto/sha256"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// SignedSnapshot needs d.mu.
func (x Image) SignedSnapshot(form snapshot.Form) (*snapshot.Snapshot, *pending.Ticket, error) {
	d := x.d
	if d.stateless() {
		return nil, nil, nil
	}
	s, err := x.SnapshotOf(form, true, false)
	if err != nil {
		return nil, nil, err
	}
	lasting, err := x.EncodeFacts()
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
func (d *Daemon) snapshot(withKey bool) (*snapshot.Snapshot, error) {
	return d.Image().SnapshotOf(d.Image().Form(), withKey, false)
}

// SnapshotOf is snapshot of a form. For the store a large state goes to a file.
func (x Image) SnapshotOf(form snapshot.Form, withKey, forStore bool) (_ *snapshot.Snapshot, err error) {
	d := x.d
	if err := x.Portable(); err != nil {
		return nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), err)
	}
	s, err := x.Header(form)
	if err != nil {
		return nil, err
	}
	switch s.Header.Form {
	case snapshot.FormMemory:
		to := snapshot.NewBuffer(d.Limits().StateBytes)
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
		s.State, err = d.daemon.Snapshot(x.StateCall())
	}
	if err != nil {
		return nil, fmt.Errorf("daemon %s: %w", d.id.Origin(), err)
	}
	if s.Header.Form == snapshot.FormGiven && int64(len(s.State)) > d.Limits().StateBytes {
		return nil, fmt.Errorf("daemon %s: %w: it has %d bytes, at most %d", d.id.Origin(), daemon.ErrStateTooLarge, len(s.State), d.Limits().StateBytes)
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

// Header is a snapshot that lacks its state and signature. It needs d.mu.
func (x Image) Header(form snapshot.Form) (*snapshot.Snapshot, error) {
	return x.d.headerWith(form, x.d.horizon.List())
}

func (d *Daemon) headerWith(form snapshot.Form, marks []snapshot.SenderMark) (*snapshot.Snapshot, error) {
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
		Applied: d.applied, LastTime: d.lastTime, Horizon: marks, Form: form, Limits: d.OwnLimits().Map(),
		CreatedAt: d.env.Clock().UnixNano(), Bindings: bindings, Effects: effects,
	}}
	s.Header.Version = s.Header.FormVersion()
	return s, nil
}

// Form is how the daemon's state is captured.
func (x Image) Form() snapshot.Form {
	if x.d.stateless() {
		return snapshot.FormNone
	}
	if _, ok := x.d.daemon.(capturer); ok {
		return snapshot.FormMemory
	}
	return snapshot.FormGiven
}
