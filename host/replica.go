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

// replica is what a daemon of a cluster has beside it at its owner: it holds
// answers back until the node may give them. Its lock is taken after the daemon's.
type replica struct {
	c *clustered
	d *hosted

	changing chan struct{} // one transaction about the daemon at a time: see claimTurn
	kick     chan struct{} // there may be something to change

	mu        lock.Mutex[lock.Replica]
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

// attach makes the daemon one of the cluster's, whose history needs no comparison. It
// serves once that it is this node's is known. It needs d.mu, or d is not in the tables yet.
func (c *clustered) attach(d *hosted) {
	if c == nil || d.kind == "" || d.leader != nil {
		return
	}
	d.leader = &replica{c: c, d: d, changing: make(chan struct{}, 1), kick: make(chan struct{}, 1), follows: make(map[identity.NodeID]*follower), compared: true}
}

// replicaOf returns what a daemon of a cluster has beside it; nil: it is no cluster's.
func replicaOf(d *hosted) *replica {
	p, _ := d.leader.(*replica)
	return p
}

// HasStandbys implements recordLog.
func (p *replica) HasStandbys() bool { return p.kept() }

// kept reports whether the daemon has standbys, or is to have some.
func (p *replica) kept() bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entry.Want > 0 || len(p.entry.Standbys) > 0
}

// storeAnew stores the state of a daemon that came with one in a file, so that it
// goes to standbys. It is done once; it reports whether it was.
func (p *replica) storeAnew() (bool, error) {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	p.mu.Lock()
	done := p.anew || d.life.State() != lifecycle.Running || d.daemon == nil || d.moving.Load()
	p.anew = p.anew || !done
	p.mu.Unlock()
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
func (p *replica) stands(e directory.Entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over != nil || p.unsure || p.session != 0 && p.session == p.c.sessionNow() && p.entry.Revision >= e.Revision
}

func (c *clustered) sessionNow() uint64 {
	session, _ := c.member.Lease()
	return session
}

func (p *replica) verifiedIn(session uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over != nil || p.unsure || p.session == session
}

// needs returns whose answer each batch waits for: those in sync, and who is about
// to be. It needs p.mu.
func (p *replica) needs() []identity.NodeID {
	if p.joins == 0 || p.entry.InSync(p.joins) {
		return p.entry.Standbys
	}
	return append(slices.Clone(p.entry.Standbys), p.joins)
}

// verified says that the daemon is this node's, as e says, in the session.
func (p *replica) verified(e directory.Entry, session uint64) {
	p.mu.Lock()
	if !p.unsure {
		p.entry, p.session = e, session
	}
	p.mu.Unlock()
	p.advance()
	p.startKeeping()
	p.wake()
}

// wake has keep look.
func (p *replica) wake() {
	p.advance()
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// end gives up all answers that are held back: the daemon is not this node's.
func (p *replica) end(err error) {
	p.mu.Lock()
	queue := p.queue
	p.queue, p.over = nil, err
	follows := p.follows
	p.follows = make(map[identity.NodeID]*follower)
	p.tellWaiting()
	p.mu.Unlock()
	for _, f := range follows {
		f.cancel()
	}
	for _, u := range queue {
		u.finish(err)
	}
	p.wake()
}

// Holding implements recordLog.
func (p *replica) Holding() <-chan struct{} {
	session, held := p.c.member.Lease()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over != nil || held && p.session == session {
		return nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
		if p.asked != nil {
			close(p.asked)
			p.asked = nil
		}
	}
	return p.changed
}

// tellWaiting has who waits for the lease look again. It needs p.mu.
func (p *replica) tellWaiting() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Submit implements recordLog. It needs d.mu.
func (p *replica) Submit(b *store.Batch, stored func(error), finish func(error)) {
	parts, files := b.Parts(p.d.id), b.Files()
	var written chan struct{}
	if len(files) > 0 {
		written = make(chan struct{})
	}
	p.mu.Lock()
	if why := p.over; why != nil {
		p.mu.Unlock()
		stored(why)
		finish(why)
		return
	}
	p.number++
	number := p.number
	p.queue = append(p.queue, unanswered{number: number, since: p.c.now(), finish: finish})
	for _, f := range p.follows {
		f.add(sending{&standby.Batch{Number: number, Parts: parts}, files, written})
	}
	p.mu.Unlock()
	p.d.env.Store.SubmitBegun(b, p.sendOn, func(err error) {
		if written != nil {
			close(written)
		}
		stored(err)
		p.stored(number, err)
	})
}

// sendOn has the followers send what they have.
func (p *replica) sendOn() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.follows {
		f.wake()
	}
}

// Barrier implements recordLog. It needs d.mu.
func (p *replica) Barrier(finish func(error)) {
	p.mu.Lock()
	if why := p.over; why != nil {
		p.mu.Unlock()
		finish(why)
		return
	}
	p.queue = append(p.queue, unanswered{number: p.number, stored: true, since: p.c.now(), finish: finish})
	p.mu.Unlock()
	p.advance()
}

func (c *clustered) now() time.Duration { return c.member.Now() }

func (p *replica) stored(number uint64, err error) {
	p.mu.Lock()
	i, _ := slices.BinarySearchFunc(p.queue, number, func(u unanswered, n uint64) int {
		if u.number < n {
			return -1
		}
		return 1 // the first of a number is the batch
	})
	var failed func(error)
	if i < len(p.queue) && p.queue[i].number == number {
		p.queue[i].stored, p.queue[i].err = true, err
		if err != nil { // it is not in the history: standbys that have it begin anew
			failed = p.queue[i].finish
			p.queue[i].finish = ignore
			for _, f := range p.follows {
				f.cut()
			}
		}
	}
	p.mu.Unlock()
	if failed != nil {
		failed(err)
	}
	p.advance()
}

// advance gives the answers that may be given. That the lease holds is looked at
// last: it is what the answers stand on.
func (p *replica) advance() {
	p.mu.Lock()
	least := p.number
	for _, n := range p.needs() {
		held := uint64(0)
		if f := p.follows[n]; f != nil {
			held = f.held
		}
		least = min(least, held)
	}
	k := 0
	for k < len(p.queue) && p.queue[k].stored && p.queue[k].number <= least {
		k++
	}
	if k == 0 && p.changed == nil {
		p.mu.Unlock()
		return
	}
	session, held := p.c.member.Lease()
	if !held || session != p.session || p.over != nil {
		p.mu.Unlock()
		return
	}
	give := slices.Clone(p.queue[:k])
	p.queue = append(p.queue[:0], p.queue[k:]...)
	if k > 0 {
		p.answered = max(p.answered, give[k-1].number)
		clear(p.queue[len(p.queue):cap(p.queue)])
	}
	p.tellWaiting()
	p.mu.Unlock()
	for _, u := range give {
		u.finish(u.err)
	}
}

// startKeeping has the standbys looked after, once there are to be any.
func (p *replica) startKeeping() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.working || p.over != nil || p.entry.Want == 0 && len(p.entry.Standbys) == 0 || !p.c.env.Work.Begin() {
		return
	}
	p.working = true
	go func() {
		defer p.c.env.Work.Done()
		p.keep(p.c.env.Context)
	}()
}

// keep looks after the standbys until the daemon is another's.
func (p *replica) keep(ctx context.Context) {
	every := max(p.c.lag/4, 10*time.Millisecond)
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-p.kick:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(every)
		p.mu.Lock()
		over := p.over != nil
		p.mu.Unlock()
		if over {
			return
		}
		if _, held := p.c.member.Lease(); !held {
			continue
		}
		if err := p.tend(ctx); err != nil && ctx.Err() == nil {
			p.c.env.Logger.Warn("looking after a daemon's standbys", "daemon", p.d.id.Origin(), "error", err)
		}
	}
}

// tend starts and ends what follows, and says in the directory who is in sync.
func (p *replica) tend(ctx context.Context) error {
	if err := p.settle(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	e := p.entry
	verified := p.session == p.c.sessionNow()
	p.mu.Unlock()
	if !verified {
		return nil
	}
	wanted := p.wanted(e)
	p.mu.Lock()
	for _, n := range wanted {
		if p.follows[n] == nil && p.over == nil {
			p.follow(n)
		}
	}
	for n, f := range p.follows {
		if !slices.Contains(wanted, n) && !slices.Contains(p.needs(), n) {
			f.cancel()
			delete(p.follows, n)
		}
	}
	var in, out []identity.NodeID
	for _, n := range e.Standbys {
		if p.lags(n) {
			out = append(out, n)
		}
	}
	for n, f := range p.follows {
		if !e.InSync(n) && f.level && slices.Contains(wanted, n) {
			in = append(in, n)
		}
	}
	p.mu.Unlock()
	for _, n := range out {
		if err := p.part(ctx, n, "it lags or is gone"); err != nil {
			return err
		}
	}
	for _, n := range in {
		if err := p.admit(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// wanted returns who is to be a standby: those in sync first.
func (p *replica) wanted(e directory.Entry) []identity.NodeID {
	p.mu.Lock()
	spares := p.spares
	p.mu.Unlock()
	var out []identity.NodeID
	for _, n := range e.Standbys {
		if p.c.member.Here(n) && len(out) < e.Want && n != spares {
			out = append(out, n)
		}
	}
	for _, n := range p.c.member.Candidates(e.Entity, p.c.env.Self) {
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
// It needs p.mu.
func (p *replica) lags(n identity.NodeID) bool {
	if !p.c.member.Here(n) {
		return true
	}
	f := p.follows[n]
	if f == nil {
		return false // it is about to be
	}
	if f.held >= p.number {
		return false
	}
	for _, u := range p.queue {
		if u.number > f.held {
			return p.c.now()-u.since > p.c.lag
		}
	}
	return f.behind != 0 && p.c.now()-f.behind > p.c.lag
}

// admit makes a standby one in sync: from before it is said, answers wait for it.
func (p *replica) admit(ctx context.Context, n identity.NodeID) error {
	p.mu.Lock()
	f := p.follows[n]
	if f == nil || !f.level || f.held < p.answered || p.over != nil || p.unsure {
		p.mu.Unlock()
		return nil
	}
	p.joins = n
	p.mu.Unlock()
	err := p.change(ctx, func(e directory.Entry) (directory.Daemon, bool) {
		return e.With(n), !e.InSync(n)
	})
	p.mu.Lock()
	if !p.unsure {
		p.joins = 0
	}
	p.mu.Unlock()
	p.advance()
	if err == nil {
		p.c.env.Logger.Info("a standby is in sync", "daemon", p.d.id.Origin(), "standby", n)
	}
	return err
}

// part makes a standby one that is not in sync; then answers wait for it no longer.
func (p *replica) part(ctx context.Context, n identity.NodeID, why string) error {
	err := p.change(ctx, func(e directory.Entry) (directory.Daemon, bool) {
		return e.Without(n), e.InSync(n)
	})
	p.advance()
	if err == nil {
		p.c.env.Logger.Warn("a standby is not in sync any more", "daemon", p.d.id.Origin(), "standby", n, "why", why)
	}
	return err
}

// claimTurn waits until no other transaction about the daemon is under way; endTurn lets
// the next begin.
func (p *replica) claimTurn(ctx context.Context) error {
	select {
	case p.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *replica) endTurn() { <-p.changing }

// change makes a transaction about the daemon. Where what became of it is not
// known, nothing is answered until settle knows.
func (p *replica) change(ctx context.Context, to func(directory.Entry) (directory.Daemon, bool)) error {
	if err := p.claimTurn(ctx); err != nil {
		return err
	}
	defer p.endTurn()
	p.mu.Lock()
	old, unsure := p.entry, p.unsure
	p.mu.Unlock()
	if unsure {
		return errUnsure
	}
	d, any := to(old)
	if !any {
		return nil
	}
	e, err := p.c.member.Put(ctx, old, d)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.entry = e
		return nil
	}
	p.session, p.unsure = 0, true
	return err
}

var errUnsure = errors.New("what became of an earlier transaction is not known yet")

// settle finds what became of a transaction. It writes what it read: where that
// succeeds, nothing that was on its way can still arrive.
func (p *replica) settle(ctx context.Context) error {
	if err := p.claimTurn(ctx); err != nil {
		return err
	}
	defer p.endTurn()
	p.mu.Lock()
	unsure := p.unsure && p.over == nil
	p.mu.Unlock()
	if !unsure {
		return nil
	}
	session := p.c.sessionNow()
	now, err := p.c.member.Read(ctx, p.d.id)
	if errors.Is(err, directory.ErrNotListed) { // it was to be stopped: it is made known again
		p.mu.Lock()
		p.unsure, p.session, p.joins = false, 0, 0
		p.mu.Unlock()
	}
	if err != nil {
		return err
	}
	if now.Owner != p.c.env.Self {
		p.c.tell(func() { p.c.compareWith(p.d, now, session) })
		p.mu.Lock()
		p.unsure, p.session, p.joins = false, 0, 0 // the news, if it is this node's again, says the rest
		p.mu.Unlock()
		return fmt.Errorf("%w: node %s, epoch %d", errTakenOver, now.Owner, now.Epoch)
	}
	e, err := p.c.member.Put(ctx, now, now.Daemon)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.unsure, p.joins, p.entry = false, 0, e
	if p.c.sessionNow() == session {
		p.session = session
	}
	p.mu.Unlock()
	p.advance()
	return nil
}

// again has the directory told of the daemon's epoch, and the standbys begin anew: the
// history was written to beside them. It needs d.mu.
func (p *replica) again() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.session = 0
	for _, f := range p.follows {
		f.cut()
	}
	p.mu.Unlock()
	p.c.lookSoon()
}
