package standbys

import (
	"context"
	"errors"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Standby is the copy of one daemon. It is safe for concurrent use.
type Standby struct {
	id identity.EntityID

	receiving chan struct{} // full while the one stream that feeds it runs, and while the daemon is taken over

	mu     lock.Mutex[lock.Copy]
	epoch  uint64 // of the owner that feeds it, or fed it
	owner  identity.NodeID
	whole  bool   // it has had, since this process began, all that the owner had
	disk   bool   // each event since is on this disk before it is acknowledged
	said   bool   // what the store says of whole
	module []byte // digest of the code
	record []byte // what the daemon is, its key sealed to this node; nil: not known
	fenced bool   // nothing more is taken: this node is to be the owner
	sound  bool   // it had caught up once: a daemon can be made of it, which may lack its end
	fed    bool   // it has had, from an owner in this process, all that the owner had; or an operator trusts it

	comparing bool               // a goroutine compares it with other standbys
	waits     *daemon.HeldDaemon // for whom it waits to be compared with; nil: it does not wait
	cut       func()             // ends the stream; nil: there is none
}

func (s *Standby) put(b *store.Batch) error {
	rec, err := canon.Marshal(&copyRecord{Owner: s.owner, Epoch: s.epoch, Whole: s.whole && s.disk, Record: append([]byte{}, s.record...)})
	if err != nil {
		return err
	}
	b.Put(store.Standbys, s.id[:], rec)
	if s.sound = s.sound || s.whole; s.sound {
		b.Put(store.Meta, soundKey(s.id), []byte{1})
	}
	s.said = s.whole && s.disk
	return nil
}

// soundKey is where the store says that a copy is sound.
func soundKey(id identity.EntityID) []byte { return append([]byte("sound-copy/"), id[:]...) }

// unsound makes the store say that the copy is not sound.
func (s *Standby) unsound(b *store.Batch) {
	s.sound, s.fed = false, false
	b.Delete(store.Meta, soundKey(s.id))
}

// Say makes the store say whether the copy is whole, as its disk has it. The
// caller has receiving, so that nothing is on its way.
func (s *Standby) Say(st *store.Store, whole bool) error {
	s.mu.Lock()
	was := s.disk
	s.disk = whole
	b := &store.Batch{}
	err := s.put(b)
	s.disk = was
	s.mu.Unlock()
	if err == nil {
		err = st.Commit(b)
	}
	return err
}

// Fence ends the stream and lets no other begin; nothing is acknowledged after it
// returns. The caller has receiving.
func (s *Standby) Fence() {
	s.mu.Lock()
	s.fenced = true
	if s.cut != nil {
		s.cut()
	}
	s.mu.Unlock()
	s.receiving <- struct{}{}
}

// Unfence lets the owner go on.
func (s *Standby) Unfence() {
	s.mu.Lock()
	s.fenced = false
	s.mu.Unlock()
	<-s.receiving
}

// copyRecord is how the store keeps a copy.
type copyRecord struct {
	_      struct{} `cbor:",toarray"`
	Owner  identity.NodeID
	Epoch  uint64
	Whole  bool   // it had caught up, and each event since was acknowledged once it was on this disk
	Record []byte // a daemonRecord; empty: not known yet
}

// State is how a copy stands.
type State struct {
	Owner  identity.NodeID // that feeds it, or fed it
	Epoch  uint64          // of that
	Whole  bool            // it has had, since this process began, all that the owner had
	Said   bool            // what the store says of Whole
	Sound  bool            // it had caught up once: a daemon can be made of it, which may lack its end
	Fed    bool            // it has had, from an owner in this process, all that the owner had; or an operator trusts it
	Fenced bool            // nothing more is taken: this node is to be the owner
	Record []byte          // what the daemon is, its key sealed to this node; nil: not known. It is the caller's
}

// Entity returns the daemon that it is a copy of.
func (s *Standby) Entity() identity.EntityID { return s.id }

// State returns how the copy stands.
func (s *Standby) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{Owner: s.owner, Epoch: s.epoch, Whole: s.whole, Said: s.said, Sound: s.sound, Fed: s.fed, Fenced: s.fenced, Record: slices.Clone(s.record)}
}

// Keep has the batch say that what the store has of a daemon is a copy from now on, which is
// of no use until the owner has fed it. Add adds it once the batch is committed.
func Keep(b *store.Batch, id identity.EntityID, owner identity.NodeID, epoch uint64) (*Standby, error) {
	s := &Standby{id: id, receiving: make(chan struct{}, 1), owner: owner, epoch: epoch}
	s.unsound(b)
	return s, s.put(b)
}

// Trust lets the copy go on without a comparison, as an operator says.
func (s *Standby) Trust() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fed, s.waits = true, nil
}

// BeginComparing reports whether the caller may compare the copy with other standbys: nobody
// else does. EndComparing lets the next one.
func (s *Standby) BeginComparing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := s.comparing
	s.comparing = true
	return !busy
}

// EndComparing ends what BeginComparing began.
func (s *Standby) EndComparing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.comparing = false
}

// Wait shows that the daemon waits, and for whom, unless an operator has let it go on
// meanwhile; nil: it does not wait. Since stays where it waited before.
func (s *Standby) Wait(h *daemon.HeldDaemon) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fed {
		h = nil
	}
	if h != nil && s.waits != nil {
		h.Since = s.waits.Since
	}
	s.waits = h
}

// WaitsFor returns for whom the daemon waits; nil: it does not.
func (s *Standby) WaitsFor() *daemon.HeldDaemon {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waits
}

// ErrFenced says that nothing more is taken of the daemon's owner.
var ErrFenced = errors.New("this node is about to own the daemon")

// Still returns once the stream that feeds the copy has ended where the owner asks, whose
// stream is dead then; another begins once done is called. For any other it returns at
// once. ErrFenced; the cause of the end of ctx.
func (s *Standby) Still(ctx context.Context, owner bool) (done func(), err error) {
	s.mu.Lock()
	if s.fenced {
		s.mu.Unlock()
		return nil, ErrFenced
	}
	if s.cut != nil && owner {
		s.cut()
	}
	s.mu.Unlock()

	if !owner {
		return func() {}, nil
	}
	select {
	case s.receiving <- struct{}{}:
		return func() { <-s.receiving }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
