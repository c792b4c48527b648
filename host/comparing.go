package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// An owner that comes back believes no disk, its own least of all. Before a daemon
// serves for the first time in a process (after a start, a mend or a confirmation),
// its history is compared with that of every standby that the directory calls in sync:
//
//	the daemon here                       | a standby in sync          | what follows
//	any                                   | none                       | it serves
//	stopped in order, as the directory has it | not asked              | it serves
//	epoch above the directory's           |                            | the directory is told the epoch, then as below
//	the same, or more                     | has as much or less        | it serves once all have answered so
//	less                                  | has an extension           | handed over: the directory names the standby, epoch+1
//	nothing, and no copy that can go on   | proves what it has         | the same (giveUp)
//	another                               | epoch higher, and granted  | handed over; the history here is kept as evidence
//	another                               | epoch lower                | it serves; the standby keeps its history as evidence
//	another, or under an epoch never granted | same epoch              | held (HoldForked) until an operator decides
//	epoch below the directory's           | none has more              | held (HoldSurpassed) until an operator decides
//	any                                   | does not answer            | waits; asked again every half lease
//	any                                   | was removed from the cluster | not asked: the operator gave it up
//	any                                   | speaks no version of this  | counts as having less: it cannot prove more
//
// A copy that this node is to serve, and that no owner has fed in this process, is
// compared with the other standbys in sync in the same way. Where none of them bears it
// out, or its data directory was set back, it waits for the owner, or for an operator. A new session of a
// process whose daemon has served already needs no comparison: while the directory
// names the same owner and epoch, nobody else served.

// comparePatience is how long a standby has to answer.
const comparePatience = 5 * time.Second

// errStandbySilent says that a standby in sync cannot be compared with.
var errStandbySilent = errors.New("a standby in sync does not answer")

// compareFirst has the daemon, which the directory says is this node's, serve once it
// may. It does not block.
func (c *member) compareFirst(d *hosted, e directory.Entry, session uint64) {
	l := leaderOf(d)
	if !l.BeginComparing(e, session, d.info().Epoch, c.rt.isHeld(d.id)) {
		return
	}
	restored := c.rt.unconfirmed(d.id)
	if !c.env.Work.Begin() {
		return
	}
	go func() {
		defer c.env.Work.Done()
		done := l.PlaceToCompare(c.env.Context)
		if done == nil {
			return
		}
		defer done()
		var err error
		if restored {
			err = c.settleUnconfirmed(c.env.Context, d, e)
		} else {
			err = c.settleFirst(c.env.Context, d, e, session)
		}
		l.EndComparing()
		if err != nil && c.env.Context.Err() == nil {
			c.env.Logger.Warn("a daemon waits: comparing it with its standbys", "daemon", d.id.Origin(), "error", err)
		}
	}()
}

// settleFirst is compareFirst's work: one row of the table. Where it returns an error,
// the daemon is looked at again.
func (c *member) settleFirst(ctx context.Context, d *hosted, e directory.Entry, session uint64) error {
	l := leaderOf(d)
	ours, err := reach.Of(c.env.Store, d.id)
	if err != nil { // a history that cannot be read is none
		c.env.Logger.Error("a daemon's history cannot be read", "daemon", d.id.Origin(), "error", err)
		ours = reach.Extent{}
	}
	if epoch := max(d.info().Epoch, ours.Epoch); epoch > e.Epoch { // it was mended, or confirmed
		old := e
		e.Epoch = epoch
		ask, cancel := context.WithTimeout(ctx, c.directory.Self().TTL)
		defer cancel()
		if e, err = c.directory.Put(ask, old, e.Daemon); err != nil {
			return fmt.Errorf("telling the directory of its epoch: %w", err)
		}
	}
	compared := l.Compared()
	data, err := c.lineage(ctx)
	if err != nil {
		return err
	}
	if !compared && !data.clean {
		to, whole, err := c.compareWithStandbys(ctx, d.id, ours, e)
		switch {
		case err != nil:
			l.Wait(heldBy(d.id, err))
			return err
		case to != nil && to.verdict == reach.TheirsGoesOn:
			return c.handOver(ctx, d, e, to)
		case to != nil:
			return c.rt.hold(d.id, &holdRecord{Reason: daemon.HoldForked, Node: to.node, Epoch: to.has.Epoch, Index: to.has.Next, Proof: to.proof,
				Why: fmt.Sprintf("standby %s, which is in sync, has another history: %d records up to epoch %d, here are %d up to epoch %d", to.node, to.has.Next, to.has.Epoch, ours.Next, ours.Epoch)})
		case ours.Epoch < e.Epoch && ours.Next > 0:
			return c.rt.hold(d.id, &holdRecord{Reason: daemon.HoldSurpassed, Epoch: e.Epoch,
				Why: fmt.Sprintf("the directory granted this node epoch %d, and the history here ends in epoch %d: the data directory is older", e.Epoch, ours.Epoch)})
		case data.older && !whole && len(e.Standbys) > 0:
			err := c.rt.recordLoss(d.id, d.info().Sequence, e.Epoch, "this node's data directory is older than its last run, and what its standbys had in memory is gone")
			if err != nil {
				return err
			}
		}
	}
	if c.rt.isHeld(d.id) { // it was compared, for a standby that has more goes on at once
		return nil
	}
	if now, ok := c.directory.Look(d.id); ok && now.Revision > e.Revision {
		c.tell(func() { c.compareWith(d, now, c.sessionNow()) })
		return nil
	}
	l.SetCompared()
	if d.mu.TryLock() { // who has the lock shows it
		d.show()
		d.mu.Unlock()
	}
	l.Verified(e, session)
	return nil
}

// rival is a standby in sync, as it answered.
type rival struct {
	node    identity.NodeID
	verdict reach.Verdict
	forked  bool
	has     reach.Extent
	sound   bool
	whole   bool
	proof   []byte
}

// compareWithStandbys asks all standbys in sync, but this node, how far their copies
// reach. It returns the one that is furthest of those that stand in the way; nil: none
// does. whole says that one has all that it acknowledged. Where one does not answer and
// none has more, it returns errStandbySilent.
func (c *member) compareWithStandbys(ctx context.Context, id identity.EntityID, ours reach.Extent, e directory.Entry) (_ *rival, whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, comparePatience)
	defer cancel()
	var mu sync.Mutex
	var best *rival
	var silent error
	var work sync.WaitGroup
	for _, n := range e.Standbys {
		if n == c.env.Self {
			continue
		}
		if c.directory.Left(n) {
			c.env.Logger.Warn("a standby in sync was removed from the cluster: what it alone may have of the daemon is given up", "daemon", id.Origin(), "standby", n)
			continue
		}
		work.Go(func() {
			r, err := c.compareWithOne(ctx, n, id, ours, e)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				silent = &silentError{n, err}
			case r == nil:
			case r.verdict == reach.OursGoesOn:
				whole = whole || r.whole
			case best == nil || r.before(best):
				best = r
			}
		})
	}
	work.Wait()
	if best != nil && (best.verdict == reach.TheirsGoesOn || silent == nil) {
		return best, whole, nil // the standby compares itself with the others before it serves
	}
	return nil, whole, silent
}

// before reports whether r is rather to go on than o.
func (r *rival) before(o *rival) bool {
	if r.verdict != o.verdict {
		return r.verdict == reach.TheirsGoesOn
	}
	return r.has.Supersedes(o.has)
}

// errOlderData says that a copy is of a data directory that was set back: it is in sync
// no longer, whatever the directory says.
var errOlderData = errors.New("the copy here is of a data directory that is older than the node's last run: the daemon waits for its owner or another standby")

// errOwnerAway says that nobody bears out a copy: its owner may have more.
var errOwnerAway = errors.New("no owner has fed the copy here since this node's start, and no other standby bears it out: the daemon waits for its owner, which may have more")

// silentError is an errStandbySilent.
type silentError struct {
	node identity.NodeID
	err  error
}

func (e *silentError) Error() string {
	return fmt.Sprintf("standby %s is in sync and cannot be compared with: %v", e.node, e.err)
}
func (e *silentError) Is(target error) bool { return target == errStandbySilent }
func (e *silentError) Unwrap() error        { return e.err }

func heldBy(id identity.EntityID, err error) *daemon.HeldDaemon {
	h := &daemon.HeldDaemon{Entity: id, Reason: daemon.HoldUnreachable, Why: err.Error()}
	var silent *silentError
	if errors.As(err, &silent) {
		h.Node = silent.node
	}
	return h
}

// compareWithOne returns how the standby stands; nil where it cannot say.
func (c *member) compareWithOne(ctx context.Context, n identity.NodeID, id identity.EntityID, ours reach.Extent, e directory.Entry) (*rival, error) {
	nonce := make([]byte, standby.NonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	m := &standby.Compare{Version: standby.Proving, Entity: id, Epoch: e.Epoch, Next: ours.Next, Sum: []byte{}, Nonce: nonce}
	if ours.Next > 0 {
		m.Sum = ours.Sum[:]
	}
	s, err := c.askStandby(ctx, n, m)
	if err != nil || s == nil {
		return nil, err
	}
	theirs := reach.Extent{Epoch: s.Epoch, Next: s.Next}
	copy(theirs.Sum[:], s.Sum)
	var oursAt []byte
	if theirs.Next > 0 && theirs.Next < ours.Next {
		if oursAt, err = reach.SumAt(c.env.Store, id, theirs.Next-1); err != nil {
			return nil, err
		}
	}
	rel := reach.Relate(ours, theirs, oursAt, canon.OrNil(s.At))
	r := &rival{node: n, verdict: reach.Judge(rel, ours, theirs, e.Epoch), forked: rel == reach.Forked, has: theirs, sound: s.Sound, whole: s.Whole, proof: s.Proof}
	if r.verdict == reach.OursGoesOn {
		return r, nil
	}
	if proven, err := reach.Verify(s.Proof, id, n, nonce); len(s.Proof) > 0 && (err != nil || proven != theirs) {
		return nil, fmt.Errorf("%w: it says that it has %d records: %v", reach.ErrBadProof, theirs.Next, err)
	}
	if len(s.Proof) == 0 || !s.Sound { // it cannot go on, and what is here is not all
		r.verdict = reach.Undecided
	}
	return r, nil
}

// askStandby asks one standby. nil, nil: it is of a version that cannot answer.
func (c *member) askStandby(ctx context.Context, n identity.NodeID, m *standby.Compare) (*standby.Stands, error) {
	peer, err := c.rt.mesh.Peer(n)
	if err != nil {
		return nil, err
	}
	conn, err := peer.OpenStandby(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Abort()
	if err := standby.SendNow(conn, m); err != nil {
		return nil, err
	}
	msg, err := conn.Recv()
	switch msg := msg.(type) {
	case *standby.Stands:
		return msg, nil
	case *standby.Refuse:
		return nil, errors.New(msg.Text)
	}
	if err == nil {
		return nil, fmt.Errorf("%w: a %T in answer", standby.ErrBadMessage, msg)
	}
	if c.isOfVersion1(ctx, peer, m) {
		c.env.Logger.Warn("a standby of an older version cannot be compared with", "daemon", m.Entity.Origin(), "standby", n)
		return nil, nil
	}
	return nil, err
}

// isOfVersion1 reports whether the peer refuses version 2 of the protocol by its number.
func (c *member) isOfVersion1(ctx context.Context, peer mesh.Peer, m *standby.Compare) bool {
	conn, err := peer.OpenStandby(ctx)
	if err != nil {
		return false
	}
	defer conn.Abort()
	if err := standby.SendNow(conn, &standby.Follow{Version: standby.Proving, Entity: m.Entity, Epoch: m.Epoch, Module: []byte{}}); err != nil {
		return false
	}
	msg, err := conn.Recv()
	refuse, ok := msg.(*standby.Refuse)
	return err == nil && ok && standby.IsRefused(refuse.Text, standby.Proving)
}

// handOver names a standby that has more the daemon's owner. What is here is kept as
// evidence where it is no beginning of that.
func (c *member) handOver(ctx context.Context, d *hosted, e directory.Entry, to *rival) error {
	if to.forked {
		if err := c.rt.keepEvidence(d.id, e.Epoch, fmt.Sprintf("standby %s, which is in sync, has another history under a higher epoch", to.node)); err != nil {
			return err
		}
	}
	now, err := c.nameOwner(ctx, e, to.node)
	if err != nil {
		return fmt.Errorf("handing it over to standby %s, which has more: %w", to.node, err)
	}
	c.env.Logger.Error("the history here is older than a standby's: the daemon goes on there", "daemon", d.id.Origin(), "name", d.name, "standby", to.node,
		"records there", to.has.Next, "epoch", now.Epoch)
	c.tell(func() { c.compareWith(d, now, c.sessionNow()) })
	return nil
}

// yield names a standby in sync the daemon's owner, as an operator says, and returns the
// epoch of that. The copy here is dropped once the directory's news come. It needs d.mu.
func (c *member) yield(ctx context.Context, d *hosted, to identity.NodeID) (uint64, error) {
	e, err := c.directory.Read(ctx, d.id)
	if err != nil {
		return 0, err
	}
	if e.Owner != c.env.Self || !e.InSync(to) {
		return 0, fmt.Errorf("%w: node %s is no standby in sync of daemon %s any more", daemon.ErrNoneFurther, to, d.id.Origin())
	}
	if err := c.rt.keepEvidence(d.id, d.epoch, fmt.Sprintf("yielded to standby %s", to)); err != nil {
		return 0, err
	}
	now, err := c.nameOwner(ctx, e, to)
	if err != nil {
		return 0, fmt.Errorf("yielding it to standby %s: %w", to, err)
	}
	c.env.Logger.Warn("an operator yielded a held daemon to a standby", "daemon", d.id.Origin(), "standby", to, "epoch", now.Epoch)
	c.tell(func() { c.compareWith(d, now, c.sessionNow()) })
	return now.Epoch, nil
}

// nameOwner makes another node, a standby in sync, the owner of a daemon of this one.
func (c *member) nameOwner(ctx context.Context, e directory.Entry, to identity.NodeID) (directory.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, c.directory.Self().TTL)
	defer cancel()
	d := e.Daemon.Without(to)
	d.Owner, d.Epoch = to, e.Epoch+1
	return c.directory.Put(ctx, e, d)
}

func heldError(h *daemon.HeldDaemon) error {
	return &daemon.HeldError{Entity: h.Entity, Reason: h.Reason, Why: h.Why}
}

// waiting returns the daemons that wait for a standby to be compared with.
func (c *member) waiting() []daemon.HeldDaemon {
	if c == nil {
		return nil
	}
	var out []daemon.HeldDaemon
	for _, d := range c.daemons() {
		if h := leaderOf(d).WaitsFor(); h != nil {
			out = append(out, *h)
		}
	}
	for _, s := range c.copies.All() {
		if h := s.WaitsFor(); h != nil {
			out = append(out, *h)
		}
	}
	return out
}

// compareCopy returns nil where the copy here may go on: no other standby in sync has
// more. e is what the directory says.
func (c *member) compareCopy(ctx context.Context, e directory.Entry, s *standbys.Standby) (*rival, error) {
	ours, err := reach.Of(c.env.Store, e.Entity)
	if err != nil {
		return nil, err
	}
	data, err := c.lineage(ctx)
	if err != nil {
		return nil, err
	}
	to, whole, err := c.compareWithStandbys(ctx, e.Entity, ours, e)
	switch {
	case err != nil || to != nil:
	case data.older:
		err = errOlderData
	case e.Owner != c.env.Self && !data.clean && !whole && c.directory.Knows(e.Owner):
		err = errOwnerAway
	}
	var waits *daemon.HeldDaemon
	switch {
	case err != nil:
		waits = heldBy(e.Entity, err)
	case to != nil && to.verdict == reach.Undecided:
		waits = &daemon.HeldDaemon{Entity: e.Entity, Reason: daemon.HoldForked, Node: to.node, Epoch: to.has.Epoch, Index: to.has.Next,
			Why: fmt.Sprintf("standby %s, which is in sync, has another history than the copy here", to.node)}
	case to == nil && !c.rt.Unconfirmed().Incarnation().Confirmed:
		err = ErrUnconfirmed
		waits = &daemon.HeldDaemon{Entity: e.Entity, Reason: daemon.HoldUnconfirmed, Why: "the copy on this node comes from a backup, and no other node in sync is there to go on"}
	}
	if waits != nil {
		waits.Name, waits.Since = e.Name, c.env.Clock()
	}
	s.Wait(waits)
	return to, err
}

// fromDisk runs compareCopy for a copy that no owner has fed in this process, and next
// once the copy here may go on. It does not block, and does nothing where that is under
// way.
func (c *member) fromDisk(e directory.Entry, s *standbys.Standby, next func()) {
	if !s.BeginComparing() || !c.env.Work.Begin() {
		return
	}
	go func() {
		defer c.env.Work.Done()
		defer s.EndComparing()
		to, err := c.compareCopy(c.env.Context, e, s)
		switch {
		case err != nil:
			if c.env.Context.Err() == nil {
				c.env.Logger.Warn("a daemon waits: comparing the copy here with other standbys", "daemon", e.Entity.Origin(), "error", err)
			}
		case to == nil:
			next()
		case to.verdict == reach.TheirsGoesOn && e.Owner == c.env.Self:
			if _, err := c.nameOwner(c.env.Context, e, to.node); err != nil {
				c.env.Logger.Warn("handing a daemon over to a standby that has more", "daemon", e.Entity.Origin(), "standby", to.node, "error", err)
			}
		case to.verdict == reach.TheirsGoesOn:
			c.env.Logger.Info("another standby has more of a daemon: it takes that over", "daemon", e.Entity.Origin(), "standby", to.node)
		}
	}()
}

// confirmWaiting lets a daemon go on that waits for a standby, as an operator says: what
// that standby has beyond the copy here is lost.
func (c *member) confirmWaiting(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	d := c.rt.table.Daemon(id)
	if d == nil {
		return c.confirmCopy(ctx, id)
	}
	if err := d.lock(ctx); err != nil {
		return chain.Mended{}, err
	}
	defer d.mu.Unlock()
	if err := d.wake(ctx); err != nil {
		return chain.Mended{}, err
	}
	if d.life.State() != lifecycle.Running {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), errors.Join(d.gone, daemon.ErrNotHeld))
	}
	e, ok := c.directory.Look(id)
	if !ok || e.Owner != c.env.Self {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotHeld, id.Origin())
	}
	fact, b, err := d.fact(chain.MendConfirm, max(d.epoch, e.Epoch)+1)
	if err != nil {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
	}
	if err := c.env.Store.Commit(b); err != nil {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
	}
	d.goOn(fact.Epoch)
	c.env.Logger.Warn("an operator confirmed a daemon that waited for a standby: what that has beyond the copy here is lost", "daemon", id.Origin(), "name", d.name, "epoch", fact.Epoch)
	d.notify(daemon.WasMended, chain.MendConfirm.String())
	leaderOf(d).SetCompared()
	d.show()
	c.again(d)
	return fact, nil
}

// confirmCopy is confirmWaiting of a copy that this node is to serve.
func (c *member) confirmCopy(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	s := c.copies.Find(id)
	e, ok := c.directory.Look(id)
	if s == nil || !ok {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotHeld, id.Origin())
	}
	if e.Owner == c.env.Self { // the silent standby may have more under this epoch
		old := e
		e.Epoch++
		var err error
		if e, err = c.directory.Put(ctx, old, e.Daemon); err != nil {
			return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
		}
	}
	s.Trust()
	c.env.Logger.Warn("an operator confirmed a copy that waited for another standby: what that has beyond it is lost", "daemon", id.Origin(), "name", e.Name)
	c.lookSoon()
	return chain.Mended{How: chain.MendConfirm, Epoch: e.Epoch}, nil
}

// waits returns for whom a daemon or copy here waits; nil: it does not.
func (c *member) waits(id identity.EntityID) *daemon.HeldDaemon {
	d := c.rt.table.Daemon(id)
	if d != nil {
		if l := leaderOf(d); l != nil {
			return l.WaitsFor()
		}
		return nil
	}
	if s := c.copies.Find(id); s != nil {
		return s.WaitsFor()
	}
	return nil
}

// answerCompare tells the daemon's owner, or another standby in sync, how far the copy
// here reaches.
func (r *Runtime) answerCompare(ctx context.Context, from identity.NodeID, conn standby.Conn, m *standby.Compare) {
	s, err := r.comparedWith(ctx, from, m)
	var out standby.Message = s
	if err != nil {
		r.env.Logger.Warn("a node compares itself with the copy here, and is refused", "daemon", m.Entity.Origin(), "from", from, "error", err)
		text := err.Error()
		out = &standby.Refuse{Text: text[:min(len(text), 1024)]}
	}
	if err := standby.SendNow(conn, out); err != nil {
		r.env.Logger.Debug("answering a comparison", "from", from, "error", err)
	}
}

// comparedWith makes the answer to a Compare.
func (r *Runtime) comparedWith(ctx context.Context, from identity.NodeID, m *standby.Compare) (*standby.Stands, error) {
	c := r.cluster
	switch {
	case c == nil || r.env.Store == nil:
		return nil, ErrNoCluster
	case m.Version != standby.Proving:
		return nil, fmt.Errorf("version %d of the standby protocol, this node speaks %d", m.Version, standby.Proving)
	case r.ready() != nil:
		return nil, r.ready()
	}
	e, err := c.directory.Read(ctx, m.Entity)
	if err != nil {
		return nil, err
	}
	if e.Owner != from && !e.InSync(from) || e.Epoch != m.Epoch {
		return nil, fmt.Errorf("node %s owns the daemon, epoch %d", e.Owner, e.Epoch)
	}
	s := c.copies.Find(m.Entity)
	if s == nil {
		if r.table.Daemon(m.Entity) != nil {
			return nil, errors.New("the daemon itself is here")
		}
		return &standby.Stands{Sum: []byte{}, At: []byte{}, Proof: []byte{}}, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.env.Context, cancel)()
	done, err := s.Still(ctx, e.Owner == from)
	if err != nil {
		return nil, errors.Join(r.open(), err)
	}
	defer done()
	return r.standsAt(s, m)
}

func (r *Runtime) standsAt(s *standbys.Standby, m *standby.Compare) (*standby.Stands, error) {
	id := s.Entity()
	has, err := reach.Of(r.env.Store, id)
	if errors.Is(err, store.ErrCorrupt) || errors.Is(err, journal.ErrMalformed) { // it is of no use
		return &standby.Stands{Sum: []byte{}, At: []byte{}, Proof: []byte{}}, nil
	}
	if err != nil {
		return nil, err
	}
	copied := s.State()
	out := &standby.Stands{Epoch: has.Epoch, Next: has.Next, Sum: []byte{}, At: []byte{}, Sound: copied.Sound && copied.Record != nil, Whole: copied.Whole, Proof: []byte{}}
	if has.Next == 0 {
		return out, nil
	}
	out.Sum = has.Sum[:]
	if m.Next > 0 && m.Next <= has.Next {
		at, err := reach.SumAt(r.env.Store, id, m.Next-1)
		if err != nil {
			return nil, err
		}
		out.At = append(out.At, at...)
	}
	if copied.Record == nil {
		return out, nil
	}
	rec, err := decodeDaemonRecord(copied.Record)
	if err != nil {
		return nil, err
	}
	proof, err := reach.Prove(r.env.Node, id, has, rec.Key, standbyLink, m.Nonce)
	if err != nil {
		r.env.Logger.Warn("signing how far a copy reaches", "daemon", id.Origin(), "error", err)
	}
	out.Proof = append(out.Proof, proof...)
	return out, nil
}
