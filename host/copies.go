package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// copies are the daemons of other nodes that this one stands by for.
type copies struct {
	mu   lock.Mutex[lock.Copies]
	byID map[identity.EntityID]*standbyCopy
}

// standbyCopy is one of them: history and state are in the store, as a daemon's
// are, and the daemon is not in the tables.
type standbyCopy struct {
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

// copyRecord is how the store keeps a copy.
type copyRecord struct {
	_      struct{} `cbor:",toarray"`
	Owner  identity.NodeID
	Epoch  uint64
	Whole  bool   // it had caught up, and each event since was acknowledged once it was on this disk
	Record []byte // a daemonRecord; empty: not known yet
}

func (s *standbyCopy) put(b *store.Batch) error {
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
func (s *standbyCopy) unsound(b *store.Batch) {
	s.sound, s.fed = false, false
	b.Delete(store.Meta, soundKey(s.id))
}

// say makes the store say whether the copy is whole, as its disk has it. The
// caller has receiving, so that nothing is on its way.
func (s *standbyCopy) say(st *store.Store, whole bool) error {
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

// recover finds the copies that the store has.
func (c *member) recover() error {
	if err := c.recoverLife(); err != nil {
		return err
	}
	return c.env.Store.Scan(store.Standbys, func(k, v []byte) error {
		var rec copyRecord
		var id identity.EntityID
		if err := errors.Join(id.UnmarshalBinary(k), canon.Unmarshal(v, &rec)); err != nil {
			return fmt.Errorf("%w: copy %x: %w", store.ErrCorrupt, k, err)
		}
		// One that was acknowledged in memory may lack its end.
		_, err := c.env.Store.Get(store.Meta, soundKey(id))
		c.copies.byID[id] = &standbyCopy{id: id, receiving: make(chan struct{}, 1), owner: rec.Owner, epoch: rec.Epoch, whole: rec.Whole, disk: rec.Whole, said: rec.Whole, sound: rec.Whole || err == nil, record: canon.OrNil(rec.Record)}
		return nil
	})
}

func (c *member) copyOf(id identity.EntityID) *standbyCopy {
	c.copies.mu.Lock()
	defer c.copies.mu.Unlock()
	return c.copies.byID[id]
}

// dropCopy forgets a daemon that is no more.
func (c *member) dropCopy(id identity.EntityID) {
	s := c.copyOf(id)
	if s == nil {
		return
	}
	s.fence()
	defer func() { <-s.receiving }()
	b := &store.Batch{}
	for _, p := range store.ForgetParts() {
		if err := b.AddPart(id, p); err != nil {
			c.env.Logger.Error("forgetting a daemon's copy", "daemon", id.Origin(), "error", err)
			return
		}
	}
	b.Delete(store.Standbys, id[:])
	b.Delete(store.Meta, soundKey(id))
	b.Delete(store.Meta, arrivingKey(id))
	if err := c.env.Store.Commit(b); err != nil {
		c.env.Logger.Error("forgetting a daemon's copy", "daemon", id.Origin(), "error", err)
		return
	}
	c.forgetCopy(id)
}

func (c *member) forgetCopy(id identity.EntityID) {
	c.copies.mu.Lock()
	defer c.copies.mu.Unlock()
	delete(c.copies.byID, id)
}

// fence ends the stream and lets no other begin; nothing is acknowledged after it
// returns. The caller has receiving.
func (s *standbyCopy) fence() {
	s.mu.Lock()
	s.fenced = true
	if s.cut != nil {
		s.cut()
	}
	s.mu.Unlock()
	s.receiving <- struct{}{}
}

// unfence lets the owner go on.
func (s *standbyCopy) unfence() {
	s.mu.Lock()
	s.fenced = false
	s.mu.Unlock()
	<-s.receiving
}

// handleStandby is mesh.Handler.HandleStandby.
func (r *Runtime) handleStandby(ctx context.Context, from identity.NodeID, conn standby.Conn) {
	if !r.env.Work.Begin() {
		return
	}
	defer r.env.Work.Done()
	defer context.AfterFunc(r.env.Context, conn.Abort)()
	msg, err := conn.Recv()
	if err != nil {
		r.env.Logger.Debug("a standby's stream broke", "from", from, "error", err)
		return
	}
	if compare, ok := msg.(*standby.Compare); ok {
		r.answerCompare(ctx, from, conn, compare)
		return
	}
	follow, ok := msg.(*standby.Follow)
	if !ok {
		r.env.Logger.Warn("a stream to a standby begins otherwise", "from", from, "with", fmt.Sprintf("%T", msg))
		return
	}
	s, refuse := r.standFor(ctx, from, follow)
	if refuse == nil {
		err = r.receive(ctx, from, s, conn, follow)
		var no *standbyRefusal
		if errors.As(err, &no) {
			refuse = no
		}
	}
	if refuse != nil {
		err = errors.Join(refuse, standby.SendNow(conn, &standby.Refuse{Epoch: refuse.epoch, Text: refuse.text}))
	}
	r.env.Logger.Debug("a standby's stream ended", "daemon", follow.Entity.Origin(), "from", from, "error", err)
}

// standbyRefusal is why this node does not stand by.
type standbyRefusal struct {
	epoch uint64
	text  string
}

func (e *standbyRefusal) Error() string { return e.text }

// standFor finds the copy that is to be fed. Only the daemon's owner feeds it.
func (r *Runtime) standFor(ctx context.Context, from identity.NodeID, f *standby.Follow) (*standbyCopy, *standbyRefusal) {
	no := func(epoch uint64, format string, args ...any) *standbyRefusal {
		return &standbyRefusal{epoch, fmt.Sprintf(format, args...)}
	}
	c := r.cluster
	switch {
	case c == nil || r.env.Store == nil:
		return nil, no(0, "node %s is no member of a cluster", r.env.Self)
	case !standby.Speaks(f.Version):
		return nil, no(0, "%s", standby.Refused(f.Version))
	case r.ready() != nil:
		return nil, no(0, "%v", r.ready())
	}
	if err := r.mayRun(f.Entity); err != nil {
		return nil, no(0, "%v", err)
	}
	e, ok := c.directory.Look(f.Entity)
	if !ok || e.Epoch < f.Epoch {
		var err error
		if e, err = c.directory.Read(ctx, f.Entity); err != nil {
			return nil, no(0, "%v", err)
		}
	}
	if e.Owner != from || e.Epoch != f.Epoch {
		return nil, no(e.Epoch, "node %s owns the daemon, epoch %d", e.Owner, e.Epoch)
	}
	if p := r.table.Look(f.Entity); p.Here != nil || p.Coming != nil {
		return nil, no(0, "the daemon is here, or on its way here")
	}
	c.copies.mu.Lock()
	defer c.copies.mu.Unlock()
	s := c.copies.byID[f.Entity]
	if s == nil {
		s = &standbyCopy{id: f.Entity, receiving: make(chan struct{}, 1)}
		c.copies.byID[f.Entity] = s
	}
	return s, nil
}

// receive takes what the owner sends, until the stream ends.
func (r *Runtime) receive(ctx context.Context, from identity.NodeID, s *standbyCopy, conn standby.Conn, f *standby.Follow) error {
	s.mu.Lock()
	if s.cut != nil {
		s.cut() // an earlier stream, that is dead
	}
	s.mu.Unlock()
	select {
	case s.receiving <- struct{}{}:
	case <-r.env.Context.Done():
		return context.Cause(r.env.Context)
	}
	defer func() { <-s.receiving }()
	s.mu.Lock()
	if s.fenced || f.Epoch < s.epoch {
		defer s.mu.Unlock()
		return &standbyRefusal{s.epoch, fmt.Sprintf("node %s owns the daemon, or is about to", s.owner)}
	}
	if f.Epoch > s.epoch {
		s.owner, s.epoch = from, f.Epoch
	}
	s.module, s.disk = canon.OrNil(f.Module), f.Disk
	s.cut = conn.Abort
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.cut = nil
		s.mu.Unlock()
	}()
	in := &receiving{r: r, s: s, from: from, conn: conn, disk: f.Disk, version: f.Version}
	if err := in.begin(ctx, f); err != nil {
		return err
	}
	defer in.discard()
	err := in.take(ctx)
	// What is on its way to the disk is waited for: who takes over reads it there.
	// Nobody sends on the stream after that.
	err = errors.Join(err, r.env.Store.Commit(&store.Batch{}))
	in.holding.Wait()
	return err
}

// receiving is one stream.
type receiving struct {
	r       *Runtime
	s       *standbyCopy
	from    identity.NodeID
	conn    standby.Conn
	disk    bool
	wasm    []byte
	version uint8
	earlier arrivingModule // the module before the last upgrade, which the owner was asked for

	files map[store.Digest]*arrivingFile // that came, or come, and no batch has taken

	proof *reach.Extent // how far the owner has proven that its history goes; nil: it has not

	owes uint64 // the last batch that is held and was not said to be; 0: none

	sending sync.Mutex     // of Held, from here or once the disk has it
	holding sync.WaitGroup // of those that send it then
	said    uint64         // the last that was sent
}

func (in *receiving) begin(ctx context.Context, f *standby.Follow) error {
	have := &standby.Have{Sum: []byte{}}
	err := in.r.env.Store.ReadHistoryBackward(in.s.id, func(index uint64, rec []byte) error {
		sum := sha256.Sum256(rec)
		have.Next, have.Sum = index+1, sum[:]
		return store.ErrStop
	})
	if err != nil {
		return err
	}
	if len(f.Module) == 32 {
		_, err := in.r.module(ctx, store.Digest(f.Module)) // compiled, for the day it is needed
		have.NeedModule = errors.Is(err, daemon.ErrModuleNotFound)
		if have.NeedModule && in.r.refuse {
			return &standbyRefusal{0, fmt.Sprintf("node %s does not have module %x and takes none from peers", in.r.env.Self, f.Module)}
		}
		if err != nil && !have.NeedModule {
			return err
		}
	}
	if f.Version < standby.Keeping {
		return standby.SendNow(in.conn, have)
	}
	if err := in.conn.Send(have); err != nil {
		return err
	}
	return in.sayState()
}

func (in *receiving) take(ctx context.Context) error {
	for {
		if in.owes > 0 && !in.conn.More() { // one answer for all that came together
			if err := in.hold(in.owes); err != nil {
				return err
			}
			in.owes = 0
		}
		msg, err := in.conn.Recv()
		if err != nil {
			return err
		}
		in.s.mu.Lock()
		fenced := in.s.fenced
		in.s.mu.Unlock()
		if fenced {
			return errTakenOver
		}
		switch msg := msg.(type) {
		case *standby.Module:
			err = in.takeModule(ctx, msg)
		case *standby.Proof:
			err = in.takeProof(msg)
		case *standby.Reset:
			err = in.reset()
		case *standby.Record:
			err = in.takeRecord(msg)
		case *standby.File:
			err = in.takeFile(msg)
		case *standby.Batch:
			err = in.takeBatch(msg)
		case *standby.Facts:
			err = in.takeLasting(ctx, msg)
		case *standby.Earlier:
			err = in.takeEarlier(ctx, msg)
		default:
			err = fmt.Errorf("%w: a %T", standby.ErrBadMessage, msg)
		}
		if err != nil {
			return err
		}
	}
}

func (in *receiving) takeModule(ctx context.Context, m *standby.Module) error {
	if int64(len(in.wasm)+len(m.Bytes)) > in.r.env.Limits.ModuleBytes {
		return fmt.Errorf("%w: a module of more than %d bytes", daemon.ErrTooLarge, in.r.env.Limits.ModuleBytes)
	}
	if in.wasm = append(in.wasm, m.Bytes...); !m.Last {
		return nil
	}
	wasm := in.wasm
	in.wasm = nil
	in.s.mu.Lock()
	digest := in.s.module
	in.s.mu.Unlock()
	if got := sha256.Sum256(wasm); string(got[:]) != string(digest) {
		return fmt.Errorf("%w: module %x came for %x", standby.ErrBadMessage, got, digest)
	}
	return in.keepModule(ctx, wasm)
}

func (in *receiving) keepModule(ctx context.Context, wasm []byte) error {
	_, err := in.r.addModule(ctx, wasm, daemon.MaxMemoryBytes, false) // its owner let it have the memory
	return err
}

// takeProof takes the owner's proof of how far its history goes.
func (in *receiving) takeProof(m *standby.Proof) error {
	e, err := reach.Verify(m.Bytes, in.s.id, in.from, []byte{})
	if err != nil {
		return fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
	}
	in.proof = &e
	return nil
}

// mayReset returns nil where what is here of the daemon may be dropped, or why not. A
// copy that had caught up is given up only for a history that is proven to be longer,
// or for one under an epoch that the directory has granted since; its end is kept as
// evidence then.
func (in *receiving) mayReset() error {
	in.s.mu.Lock()
	sound, granted := in.s.sound, in.s.epoch
	in.s.mu.Unlock()
	if !sound {
		return nil // it is part of a copy only
	}
	have, err := reach.Of(in.r.env.Store, in.s.id)
	if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, journal.ErrMalformed) {
		return err
	}
	if err != nil || have.Next == 0 {
		return nil // it is of no use
	}
	switch {
	case granted > have.Epoch:
	case in.proof != nil && in.proof.Supersedes(have):
	case in.proof != nil:
		return &standbyRefusal{have.Epoch, fmt.Sprintf("the copy here has %d records, up to epoch %d, and the owner proves %d, up to epoch %d: it is not thrown away", have.Next, have.Epoch, in.proof.Next, in.proof.Epoch)}
	default:
		return &standbyRefusal{have.Epoch, fmt.Sprintf("the copy here has %d records, up to epoch %d, and the owner proves nothing: it is not thrown away", have.Next, have.Epoch)}
	}
	return in.r.keepEvidence(in.s.id, have.Epoch, fmt.Sprintf("node %s proved a longer history", in.from))
}

// reset drops what is here of the daemon. That it is not whole is durable with it.
func (in *receiving) reset() error {
	if err := in.mayReset(); err != nil {
		var refused *standbyRefusal
		if errors.As(err, &refused) {
			in.r.env.Logger.Error("a node has this one throw a daemon's copy away, and does not prove that it has more", "daemon", in.s.id.Origin(), "node", in.from, "why", refused.text)
		}
		return err
	}
	in.s.mu.Lock()
	in.s.whole, in.s.record = false, nil
	b := &store.Batch{}
	in.s.unsound(b)
	err := in.s.put(b)
	in.s.mu.Unlock()
	for _, p := range store.ForgetParts() {
		err = errors.Join(err, b.AddPart(in.s.id, p))
	}
	if err != nil {
		return err
	}
	return in.r.env.Store.Commit(b)
}

func (in *receiving) takeRecord(m *standby.Record) error {
	var rec daemonRecord
	if err := canon.Unmarshal(m.Bytes, &rec); err != nil {
		return fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
	}
	if err := daemon.ValidName(rec.Name); err != nil {
		return fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
	}
	in.s.mu.Lock()
	in.s.record = m.Bytes
	b := &store.Batch{}
	err := in.s.put(b)
	in.s.mu.Unlock()
	if err == nil {
		err = in.r.env.Store.Commit(b)
	}
	return err
}

// takeBatch writes what came, and says that it is held: at once, or once the disk
// has it.
func (in *receiving) takeBatch(m *standby.Batch) error {
	in.s.mu.Lock()
	known := in.s.record != nil
	in.s.mu.Unlock()
	if m.Number != 0 && !known {
		return fmt.Errorf("%w: a batch to acknowledge before the daemon's record", standby.ErrBadMessage)
	}
	b, err := in.batch(m)
	if err != nil {
		return err
	}
	if m.Number == 0 {
		in.r.env.Store.Submit(b, in.note)
		return nil
	}
	in.s.mu.Lock()
	caughtUp := !in.s.whole || in.s.said != in.disk
	in.s.fed = true
	if caughtUp {
		in.s.whole = true
		if err := in.s.put(b); err != nil {
			in.s.mu.Unlock()
			return err
		}
	}
	in.s.mu.Unlock()
	if in.disk || caughtUp {
		in.r.env.Store.Submit(b, func(err error) {
			if in.note(err); err == nil {
				in.holding.Go(func() { _ = in.hold(m.Number) }) // its stream ends where this fails
			}
		})
		return nil
	}
	in.r.env.Store.SubmitLater(b, in.note)
	in.owes = m.Number
	return nil
}

// note ends the stream where the store does not take what came.
func (in *receiving) note(err error) {
	if err != nil {
		in.r.env.Logger.Error("keeping a daemon's copy", "daemon", in.s.id.Origin(), "error", err)
		in.s.mu.Lock()
		in.s.whole = false
		in.s.mu.Unlock()
		in.conn.Abort()
	}
}

// hold says that all up to the batch is held, unless a later one was said to be.
func (in *receiving) hold(number uint64) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	if number <= in.said {
		return nil
	}
	in.s.mu.Lock()
	fenced, whole := in.s.fenced, in.s.whole
	in.s.mu.Unlock()
	if fenced || !whole {
		return errTakenOver
	}
	in.said = number
	return standby.SendNow(in.conn, &standby.Held{Number: number})
}
