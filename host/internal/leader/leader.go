package leader

import (
	"slices"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Leader is the owner's side of one daemon of a cluster: what the daemon writes goes to
// its standbys through it, and it holds acknowledgements back until the standbys in sync
// have what is acknowledged and the node's lease holds. It is safe for concurrent use, but
// where a method needs the daemon's lock. Its own lock is taken after the daemon's.
type Leader struct {
	group  *Group
	daemon Daemon

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
	compared  bool               // it may serve where the directory names this node: see BeginComparing
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

// HasStandbys reports whether the daemon has standbys, or is to have some.
func (l *Leader) HasStandbys() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entry.Want > 0 || len(l.entry.Standbys) > 0
}

// Knows reports whether the leader knows of an entry that is as new as e, or has no use
// for one now.
func (l *Leader) Knows(e directory.Entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over != nil || l.unsure || l.session != 0 && l.session == l.group.session() && l.entry.Revision >= e.Revision
}

// VerifiedIn reports whether the daemon is known to be this node's in the session, or has
// no use for knowing.
func (l *Leader) VerifiedIn(session uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over != nil || l.unsure || l.session == session
}

// needs returns whose answer each batch waits for: those in sync, and who is about
// to be. It needs l.mu.
func (l *Leader) needs() []identity.NodeID {
	if l.joins == 0 || l.entry.InSync(l.joins) {
		return l.entry.Standbys
	}
	return append(slices.Clone(l.entry.Standbys), l.joins)
}

// Verified says that the directory names this node the daemon's owner in the session, by
// the entry e: the daemon may serve.
func (l *Leader) Verified(e directory.Entry, session uint64) {
	l.mu.Lock()
	if !l.unsure {
		l.entry, l.session = e, session
	}
	l.mu.Unlock()
	l.Advance()
	l.startKeeping()
	l.Wake()
}

// Wake has the leader look after the standbys, and give what may be acknowledged.
func (l *Leader) Wake() {
	l.Advance()
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// End fails all acknowledgements that are held back, and those to come, with err: the
// daemon is not this node's any more.
func (l *Leader) End(err error) {
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
	l.Wake()
}

// Holding returns nil while the daemon may serve, or else a channel that is closed once
// that may have changed.
func (l *Leader) Holding() <-chan struct{} {
	session, held := l.group.directory.Lease()
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
func (l *Leader) tellWaiting() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Submit writes the batch to the store, and sends it to the standbys. stored is called
// once the store has answered; acked once every standby in sync holds the batch as well and
// the node's lease holds, or with the error. Neither may block. It needs the daemon's lock.
func (l *Leader) Submit(b *store.Batch, stored, acked func(error)) {
	parts, files := b.Parts(l.daemon.Entity()), b.Files()
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
	l.queue = append(l.queue, unanswered{number: number, since: l.group.now(), finish: acked})
	for _, f := range l.follows {
		f.add(sending{&standby.Batch{Number: number, Parts: parts}, files, written})
	}
	l.mu.Unlock()
	l.group.env.Store.SubmitBegun(b, l.sendOn, func(err error) {
		if written != nil {
			close(written)
		}
		stored(err)
		l.stored(number, err)
	})
}

// sendOn has the followers send what they have.
func (l *Leader) sendOn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follows {
		f.wake()
	}
}

// Barrier calls acked, which must not block, once all that was submitted before is
// acknowledged and the node's lease holds, or with the error. It needs the daemon's lock.
func (l *Leader) Barrier(acked func(error)) {
	l.mu.Lock()
	if why := l.over; why != nil {
		l.mu.Unlock()
		acked(why)
		return
	}
	l.queue = append(l.queue, unanswered{number: l.number, stored: true, since: l.group.now(), finish: acked})
	l.mu.Unlock()

	l.Advance()
}

func (l *Leader) stored(number uint64, err error) {
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
			l.queue[i].finish = func(error) {}
			for _, f := range l.follows {
				f.cut()
			}
		}
	}
	l.mu.Unlock()
	if failed != nil {
		failed(err)
	}
	l.Advance()
}

// Advance gives the acknowledgements that may be given. That the lease holds is looked at
// last: it is what the answers stand on.
func (l *Leader) Advance() {
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
	session, held := l.group.directory.Lease()
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

// Renew is Barrier, for a daemon of which something was written to the store beside the
// leader: the standbys begin anew, and have that first. It needs the daemon's lock.
func (l *Leader) Renew(acked func(error)) {
	l.mu.Lock()
	l.number++
	for _, f := range l.follows {
		f.cut()
	}
	l.mu.Unlock()
	l.Barrier(acked)
}
