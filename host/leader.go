package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// leader is what a daemon of a cluster has beside it at its owner: it holds
// answers back until the node may give them. Its lock is taken after the daemon's.
type leader struct {
	c *member
	d *hosted

	changing chan struct{} // one transaction about the daemon at a time: see claimTurn
	kick     chan struct{} // there may be something to change

	mu        lock.Mutex[lock.Leader]
	entry     directory.Entry // as this node wrote or read it last
	session   uint64          // in which that is known to hold; 0: in none
	number    uint64          // of the last batch
	queue     []unanswered
	answered  uint64 // the last batch that was
	follows   map[identity.NodeID]*follower
	spares    identity.NodeID    // who is not to be a standby: the daemon moves there
	joins     identity.NodeID    // who is about to be in sync; 0: nobody
	unsure    bool               // what became of a transaction is not known: nothing is answered
	changed   chan struct{}      // closed when answers may be given again; nil: nobody waits
	working   bool               // keep runs
	anew      bool               // the state was stored anew, so that standbys get it
	compared  bool               // it may serve where the directory names this node: see compareFirst
	comparing bool               // a goroutine compares it
	unread    bool               // it is not read yet: it is not looked at
	asked     chan struct{}      // closed when somebody waits for it; nil unless it is in line to be compared
	waits     *daemon.HeldDaemon // for whom it waits to be compared with; nil: it does not wait
	over      error              // why the daemon is not this node's any more
}

// unanswered is a batch whose answers are held back.
type unanswered struct {
	number uint64
	stored bool // the disk has answered: with err
	err    error
	since  time.Duration // by the lease's clock
	finish func(error)
}

// leaderOf returns what a daemon of a cluster has beside it; nil: it is no cluster's.
func leaderOf(d *hosted) *leader {
	l, _ := d.leader.(*leader)
	return l
}

// attach makes the daemon one of the cluster's, whose history needs no comparison. It
// serves once that it is this node's is known. It needs d.mu, or d is not in the tables yet.
func (c *member) attach(d *hosted) {
	if c == nil || d.kind == "" || d.leader != nil {
		return
	}
	d.SetLeader(&leader{c: c, d: d, changing: make(chan struct{}, 1), kick: make(chan struct{}, 1), follows: make(map[identity.NodeID]*follower), compared: true})
}

// attachUnclaimed is attach of a daemon that serves once claimed says that it is this
// node's.
func (c *member) attachUnclaimed(d *hosted) {
	c.attach(d)
	if l := leaderOf(d); l != nil {
		l.unsure = true
	}
}

// attachStored is attach of a daemon that the store has had, and that serves once it was
// compared with its standbys.
func (c *member) attachStored(d *hosted) {
	c.attach(d)
	if l := leaderOf(d); l != nil {
		l.compared, l.unread = false, d.unread.Load()
	}
}

// replaced has a daemon take the place of old, whose history was repaired: it serves once
// it was compared with its standbys. It reports whether they are the cluster's. It needs
// the locks of both.
func (c *member) replaced(old, d *hosted) bool {
	l := leaderOf(old)
	if l == nil {
		return false
	}
	l.end(fmt.Errorf("%w: it was mended", daemon.ErrNotReady))
	c.attach(d)
	leaderOf(d).compared = false
	return true
}

// resign gives up, with err, all answers of a daemon that are held back: it is not this
// node's any more.
func (c *member) resign(d *hosted, err error) {
	if l := leaderOf(d); l != nil {
		l.end(err)
	}
}

// HasStandbys implements recordLog.
func (l *leader) HasStandbys() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entry.Want > 0 || len(l.entry.Standbys) > 0
}

// storeAnew stores the state of a daemon that came with one in a file, so that it
// goes to standbys. It is done once; it reports whether it was.
func (l *leader) storeAnew() (bool, error) {
	d := l.d
	d.mu.Lock()
	defer d.mu.Unlock()
	l.mu.Lock()
	done := l.anew || d.life.State() != lifecycle.Running || d.daemon == nil || d.IsMoving()
	l.anew = l.anew || !done
	l.mu.Unlock()
	if done {
		return false, nil
	}
	b := &store.Batch{}
	if err := d.putWhole(b); err != nil {
		return false, err
	}
	d.commit(b)
	return true, nil
}

// stands reports whether p knows of an entry that is as new.
func (l *leader) stands(e directory.Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over != nil || l.unsure || l.session != 0 && l.session == l.c.sessionNow() && l.entry.Revision >= e.Revision
}

func (c *member) sessionNow() uint64 {
	session, _ := c.directory.Lease()
	return session
}

func (l *leader) verifiedIn(session uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over != nil || l.unsure || l.session == session
}

// needs returns whose answer each batch waits for: those in sync, and who is about
// to be. It needs l.mu.
func (l *leader) needs() []identity.NodeID {
	if l.joins == 0 || l.entry.InSync(l.joins) {
		return l.entry.Standbys
	}
	return append(slices.Clone(l.entry.Standbys), l.joins)
}

// verified says that the daemon is this node's, as e says, in the session.
func (l *leader) verified(e directory.Entry, session uint64) {
	l.mu.Lock()
	if !l.unsure {
		l.entry, l.session = e, session
	}
	l.mu.Unlock()
	l.advance()
	l.startKeeping()
	l.wake()
}

// wake has keep look.
func (l *leader) wake() {
	l.advance()
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// end gives up all answers that are held back: the daemon is not this node's.
func (l *leader) end(err error) {
	l.mu.Lock()
	queue := l.queue
	l.queue, l.over = nil, err
	follows := l.follows
	l.follows = make(map[identity.NodeID]*follower)
	l.tellWaiting()
	l.mu.Unlock()
	for _, f := range follows {
		f.cancel()
	}
	for _, u := range queue {
		u.finish(err)
	}
	l.wake()
}

// Holding implements recordLog.
func (l *leader) Holding() <-chan struct{} {
	session, held := l.c.directory.Lease()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil || held && l.session == session {
		return nil
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
		if l.asked != nil {
			close(l.asked)
			l.asked = nil
		}
	}
	return l.changed
}

// tellWaiting has who waits for the lease look again. It needs l.mu.
func (l *leader) tellWaiting() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Submit implements recordLog.
func (l *leader) Submit(b *store.Batch, stored, acked func(error)) {
	parts, files := b.Parts(l.d.id), b.Files()
	var written chan struct{}
	if len(files) > 0 {
		written = make(chan struct{})
	}
	l.mu.Lock()
	if why := l.over; why != nil {
		l.mu.Unlock()
		stored(why)
		acked(why)
		return
	}
	l.number++
	number := l.number
	l.queue = append(l.queue, unanswered{number: number, since: l.c.now(), finish: acked})
	for _, f := range l.follows {
		f.add(sending{&standby.Batch{Number: number, Parts: parts}, files, written})
	}
	l.mu.Unlock()
	l.c.env.Store.SubmitBegun(b, l.sendOn, func(err error) {
		if written != nil {
			close(written)
		}
		stored(err)
		l.stored(number, err)
	})
}

// sendOn has the followers send what they have.
func (l *leader) sendOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follows {
		f.wake()
	}
}

// Barrier implements recordLog.
func (l *leader) Barrier(acked func(error)) {
	l.mu.Lock()
	if why := l.over; why != nil {
		l.mu.Unlock()
		acked(why)
		return
	}
	l.queue = append(l.queue, unanswered{number: l.number, stored: true, since: l.c.now(), finish: acked})
	l.mu.Unlock()

	l.advance()
}

func (c *member) now() time.Duration { return c.directory.Now() }

func (l *leader) stored(number uint64, err error) {
	l.mu.Lock()
	i, _ := slices.BinarySearchFunc(l.queue, number, func(u unanswered, n uint64) int {
		if u.number < n {
			return -1
		}
		return 1 // the first of a number is the batch
	})
	var failed func(error)
	if i < len(l.queue) && l.queue[i].number == number {
		l.queue[i].stored, l.queue[i].err = true, err
		if err != nil { // it is not in the history: standbys that have it begin anew
			failed = l.queue[i].finish
			l.queue[i].finish = ignore
			for _, f := range l.follows {
				f.cut()
			}
		}
	}
	l.mu.Unlock()
	if failed != nil {
		failed(err)
	}
	l.advance()
}

// advance gives the answers that may be given. That the lease holds is looked at
// last: it is what the answers stand on.
func (l *leader) advance() {
	l.mu.Lock()
	least := l.number
	for _, n := range l.needs() {
		held := uint64(0)
		if f := l.follows[n]; f != nil {
			held = f.held
		}
		least = min(least, held)
	}
	k := 0
	for k < len(l.queue) && l.queue[k].stored && l.queue[k].number <= least {
		k++
	}
	if k == 0 && l.changed == nil {
		l.mu.Unlock()
		return
	}
	session, held := l.c.directory.Lease()
	if !held || session != l.session || l.over != nil {
		l.mu.Unlock()
		return
	}
	give := slices.Clone(l.queue[:k])
	l.queue = append(l.queue[:0], l.queue[k:]...)
	if k > 0 {
		l.answered = max(l.answered, give[k-1].number)
		clear(l.queue[len(l.queue):cap(l.queue)])
	}
	l.tellWaiting()
	l.mu.Unlock()
	for _, u := range give {
		u.finish(u.err)
	}
}

// startKeeping has the standbys looked after, once there are to be any.
func (l *leader) startKeeping() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.working || l.over != nil || l.entry.Want == 0 && len(l.entry.Standbys) == 0 || !l.c.env.Work.Begin() {
		return
	}
	l.working = true
	go func() {
		defer l.c.env.Work.Done()
		l.keep(l.c.env.Context)
	}()
}

// keep looks after the standbys until the daemon is another's.
func (l *leader) keep(ctx context.Context) {
	every := max(l.c.lag/4, 10*time.Millisecond)
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-l.kick:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(every)
		l.mu.Lock()
		over := l.over != nil
		l.mu.Unlock()
		if over {
			return
		}
		if _, held := l.c.directory.Lease(); !held {
			continue
		}
		if err := l.tend(ctx); err != nil && ctx.Err() == nil {
			l.c.env.Logger.Warn("looking after a daemon's standbys", "daemon", l.d.id.Origin(), "error", err)
		}
	}
}

// tend starts and ends what follows, and says in the directory who is in sync.
func (l *leader) tend(ctx context.Context) error {
	if err := l.settle(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	e := l.entry
	verified := l.session == l.c.sessionNow()
	l.mu.Unlock()
	if !verified {
		return nil
	}
	wanted := l.wanted(e)
	l.mu.Lock()
	for _, n := range wanted {
		if l.follows[n] == nil && l.over == nil {
			l.follow(n)
		}
	}
	for n, f := range l.follows {
		if !slices.Contains(wanted, n) && !slices.Contains(l.needs(), n) {
			f.cancel()
			delete(l.follows, n)
		}
	}
	var in, out []identity.NodeID
	for _, n := range e.Standbys {
		if l.lags(n) {
			out = append(out, n)
		}
	}
	for n, f := range l.follows {
		if !e.InSync(n) && f.level && slices.Contains(wanted, n) {
			in = append(in, n)
		}
	}
	l.mu.Unlock()
	for _, n := range out {
		if err := l.part(ctx, n, "it lags or is gone"); err != nil {
			return err
		}
	}
	for _, n := range in {
		if err := l.admit(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// wanted returns who is to be a standby: those in sync first.
func (l *leader) wanted(e directory.Entry) []identity.NodeID {
	l.mu.Lock()
	spares := l.spares
	l.mu.Unlock()
	var out []identity.NodeID
	for _, n := range e.Standbys {
		if l.c.directory.Here(n) && len(out) < e.Want && n != spares {
			out = append(out, n)
		}
	}
	for _, n := range l.c.directory.Candidates(e.Entity, l.c.env.Self) {
		if len(out) >= e.Want {
			break
		}
		if !slices.Contains(out, n) && n != spares {
			out = append(out, n)
		}
	}
	return out
}

// lags reports whether a standby in sync owes an answer for too long, or is gone.
// It needs l.mu.
func (l *leader) lags(n identity.NodeID) bool {
	if !l.c.directory.Here(n) {
		return true
	}
	f := l.follows[n]
	if f == nil {
		return false // it is about to be
	}
	if f.held >= l.number {
		return false
	}
	for _, u := range l.queue {
		if u.number > f.held {
			return l.c.now()-u.since > l.c.lag
		}
	}
	return f.behind != 0 && l.c.now()-f.behind > l.c.lag
}

// admit makes a standby one in sync: from before it is said, answers wait for it.
func (l *leader) admit(ctx context.Context, n identity.NodeID) error {
	l.mu.Lock()
	f := l.follows[n]
	if f == nil || !f.level || f.held < l.answered || l.over != nil || l.unsure {
		l.mu.Unlock()
		return nil
	}
	l.joins = n
	l.mu.Unlock()
	err := l.change(ctx, func(e directory.Entry) (directory.Daemon, bool) {
		return e.With(n), !e.InSync(n)
	})
	l.mu.Lock()
	if !l.unsure {
		l.joins = 0
	}
	l.mu.Unlock()
	l.advance()
	if err == nil {
		l.c.env.Logger.Info("a standby is in sync", "daemon", l.d.id.Origin(), "standby", n)
	}
	return err
}

// part makes a standby one that is not in sync; then answers wait for it no longer.
func (l *leader) part(ctx context.Context, n identity.NodeID, why string) error {
	err := l.change(ctx, func(e directory.Entry) (directory.Daemon, bool) {
		return e.Without(n), e.InSync(n)
	})
	l.advance()
	if err == nil {
		l.c.env.Logger.Warn("a standby is not in sync any more", "daemon", l.d.id.Origin(), "standby", n, "why", why)
	}
	return err
}

// claimTurn waits until no other transaction about the daemon is under way; endTurn lets
// the next begin.
func (l *leader) claimTurn(ctx context.Context) error {
	select {
	case l.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *leader) endTurn() { <-l.changing }

// change makes a transaction about the daemon. Where what became of it is not
// known, nothing is answered until settle knows.
func (l *leader) change(ctx context.Context, to func(directory.Entry) (directory.Daemon, bool)) error {
	if err := l.claimTurn(ctx); err != nil {
		return err
	}
	defer l.endTurn()
	l.mu.Lock()
	old, unsure := l.entry, l.unsure
	l.mu.Unlock()
	if unsure {
		return errUnsure
	}
	d, any := to(old)
	if !any {
		return nil
	}
	e, err := l.c.directory.Put(ctx, old, d)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.entry = e
		return nil
	}
	l.session, l.unsure = 0, true
	return err
}

var errUnsure = errors.New("what became of an earlier transaction is not known yet")

// settle finds what became of a transaction. It writes what it read: where that
// succeeds, nothing that was on its way can still arrive.
func (l *leader) settle(ctx context.Context) error {
	if err := l.claimTurn(ctx); err != nil {
		return err
	}
	defer l.endTurn()
	l.mu.Lock()
	unsure := l.unsure && l.over == nil
	l.mu.Unlock()
	if !unsure {
		return nil
	}
	session := l.c.sessionNow()
	now, err := l.c.directory.Read(ctx, l.d.id)
	if errors.Is(err, directory.ErrNotListed) { // it was to be stopped: it is made known again
		l.mu.Lock()
		l.unsure, l.session, l.joins = false, 0, 0
		l.mu.Unlock()
	}
	if err != nil {
		return err
	}
	if now.Owner != l.c.env.Self {
		l.c.tell(func() { l.c.compareWith(l.d, now, session) })
		l.mu.Lock()
		l.unsure, l.session, l.joins = false, 0, 0 // the news, if it is this node's again, says the rest
		l.mu.Unlock()
		return fmt.Errorf("%w: node %s, epoch %d", errTakenOver, now.Owner, now.Epoch)
	}
	e, err := l.c.directory.Put(ctx, now, now.Daemon)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.unsure, l.joins, l.entry = false, 0, e
	if l.c.sessionNow() == session {
		l.session = session
	}
	l.mu.Unlock()
	l.advance()
	return nil
}

// again has the directory told of the daemon's epoch, and the standbys begin anew: the
// history was written to beside them. It needs d.mu.
func (c *member) again(d *hosted) {
	l := leaderOf(d)
	if l == nil {
		return
	}
	l.mu.Lock()
	l.session = 0
	for _, f := range l.follows {
		f.cut()
	}
	l.mu.Unlock()
	l.c.lookSoon()
}
