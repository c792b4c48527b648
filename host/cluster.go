package host

import (
	"context"
	"errors"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/identity"
)

// A daemon of a cluster, whole. Who owns it is what the directory says; each row
// is one transaction there, and what follows it here.
//
//	the directory says           | happens                           | the directory then says
//	nothing                      | spawn                             | owner A, epoch 1, in sync: none
//	owner A, in sync S           | B holds all that was acknowledged | in sync S and B; A's answers wait for B from before on
//	owner A, in sync S and B     | B lags, or is gone                | in sync S; then A's answers wait for B no longer
//	owner A, epoch e             | planned move: Released is durable | owner T, epoch e+1, in sync S without T; then A sends the release
//	owner A, epoch e, in sync B  | A's session is gone               | owner B, epoch e+1, in sync S without B; then B signs a failover and serves
//	owner A                      | stop                              | nothing; then A forgets
//
// A answers for an event when its disk has it, every standby in sync holds it, and
// A's lease holds at that moment. B takes nothing more of A from before it asks to
// be the owner. So what A answered for is at B, whatever their clocks say; the
// lease makes A stop before B starts.

// ClusterOptions make a runtime a member of a cluster.
type ClusterOptions struct {
	Member *directory.Member // not running yet; the runtime runs it

	// Came, where it is not nil, is told of each member that is there, Gone of each that
	// is not any more, and Removed of each that never is to be trusted again unless it is
	// let in anew. Moved is told where daemons of other nodes are. They must
	// not block.
	Came    func(directory.Node)
	Gone    func(identity.NodeID)
	Removed func(directory.Node)
	Moved   func(daemon.Moved)

	// Lag is for how long a standby may owe an answer before it leaves those in
	// sync; 0: a lease's time.
	Lag time.Duration
}

// Errors of clusters.
var (
	// ErrNoCluster says that a node is no member of a cluster.
	ErrNoCluster = errors.New("this node is not a member of a cluster: start it with serve --cluster")
)

// member is a runtime's part in a cluster.
type member struct {
	rt        *Runtime
	env       *env.Env
	directory *directory.Member
	came      func(directory.Node)
	gone      func(identity.NodeID)
	remove    func(directory.Node)
	moved     func(daemon.Moved)
	leaders   *leader.Group
	done      chan struct{} // closed when the member has left

	mu      lock.Mutex[lock.Cluster]
	session uint64 // that was told of

	givingUp map[identity.EntityID]bool // for which giveUp runs
	news     []func()
	kick     chan struct{}

	lifeTurn chan struct{} // full while one goroutine has life
	life     life

	copies *standbys.Set
	memory memory
}

func newMember(r *Runtime, o *ClusterOptions) *member {
	c := &member{rt: r, env: r.env, directory: o.Member, came: o.Came, gone: o.Gone, remove: o.Removed, moved: o.Moved, kick: make(chan struct{}, 1), lifeTurn: make(chan struct{}, 1), done: make(chan struct{})}
	c.memory.daemons = make(map[identity.EntityID]directory.Daemon)
	c.copies = standbys.New(r.env, r.evidence, standbysNode{r})
	c.givingUp = make(map[identity.EntityID]bool)
	c.leaders = leader.NewGroup(r.env, o.Member, r.mesh, r.evidence, leadersNode{r}, o.Lag)
	return c
}

// Cluster returns the node's part in its cluster; ErrNoCluster.
func (r *Runtime) Cluster() (*directory.Member, error) {
	if r.cluster == nil {
		return nil, ErrNoCluster
	}
	return r.cluster.directory, nil
}

// Holding returns daemon.ErrHolding, with why, while the node is a member of a cluster and
// its lease does not hold.
func (r Node) Holding() error {
	if r.rt.cluster == nil {
		return nil
	}
	return r.rt.cluster.leaders.Holding()
}

// Whereabouts returns who owns a daemon, as the directory was heard last; false
// where it does not say, and on a node of no cluster.
func (r Places) Whereabouts(id identity.EntityID) (daemon.Moved, bool) {
	if r.rt.cluster == nil {
		return daemon.Moved{}, false
	}
	e, ok := r.rt.cluster.directory.Look(id)
	return daemon.Moved{Entity: id, Node: e.Owner, Epoch: e.Epoch}, ok
}

// coming reports whether a daemon that the directory says is this node's is about to
// be.
func (c *member) coming(id identity.EntityID) bool {
	return c.rt.table.Arrival(id) != nil || c.copies.Find(id) != nil
}

// start begins the member's work. What it hears is dealt with by one goroutine.
func (c *member) start() {
	ctx := c.env.Context
	c.env.Work.Go(func() { // Start is counted: Shutdown waits
		c.work(ctx)
	})
	go func() {
		defer close(c.done)
		c.directory.Run(ctx, c)
	}()
}

// tell queues a piece of news.
func (c *member) tell(fn func()) {
	c.mu.Lock()
	c.news = append(c.news, fn)
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *member) work(ctx context.Context) {
	again := time.NewTicker(c.directory.Self().TTL / 2)
	defer again.Stop()
	for {
		select {
		case <-c.kick:
		case <-again.C:
			c.look()
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		news := c.news
		c.news = nil
		c.mu.Unlock()
		for _, fn := range news {
			if ctx.Err() != nil {
				return
			}
			fn()
		}
	}
}

// DaemonChanged implements directory.Observer.
func (c *member) DaemonChanged(id identity.EntityID, e *directory.Entry) {
	if e == nil {
		return // a copy here stays until the daemon is removed
	}
	c.tell(func() {
		c.remember(*e)
		c.compare(*e)
	})
}

// DaemonRemoved implements directory.Observer.
func (c *member) DaemonRemoved(r directory.Removal) {
	c.tell(func() { c.removed(r) })
}

// NodeCame implements directory.Observer.
func (c *member) NodeCame(n directory.Node) {
	c.tell(func() {
		if n.ID() != c.env.Self && c.came != nil {
			c.came(n)
		}
		c.wakeLeaders()
	})
}

// NodeGone implements directory.Observer.
func (c *member) NodeGone(id identity.NodeID) {
	c.tell(func() {
		if c.gone != nil {
			c.gone(id)
		}
		c.wakeLeaders()
		for _, e := range c.directory.Daemons() {
			if e.Owner == id {
				c.compare(e)
			}
		}
	})
}

// NodeRemoved implements directory.Observer.
func (c *member) NodeRemoved(n directory.Node) {
	if c.remove != nil && n.ID() != c.env.Self {
		c.tell(func() { c.remove(n) })
	}
}

// LeaseChanged implements directory.Observer.
func (c *member) LeaseChanged(held bool) {
	if held {
		c.env.Logger.Info("this node's lease holds: it answers for its daemons")
	} else {
		c.env.Logger.Error("this node's lease has ended: its daemons hold their events until the directory is reached")
	}
	c.tell(func() {
		for _, d := range c.daemons() {
			leaderOf(d).Advance()
		}
	})
}

// SessionBegan implements directory.Observer.
func (c *member) SessionBegan(session uint64) {
	c.mu.Lock()
	c.session = session
	c.mu.Unlock()
	c.tell(func() { c.verify(session) })
	if c.env.Work.Begin() {
		go func() {
			defer c.env.Work.Done()
			if _, err := c.lineage(c.env.Context); err != nil && c.env.Context.Err() == nil {
				c.env.Logger.Warn("the mark of this node's life", "error", err)
			}
		}()
	}
}

// sessionNamed returns the session that the directory told of last; 0: none yet.
func (c *member) sessionNamed() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// sessionNow returns the node's session; 0: it has none.
func (c *member) sessionNow() uint64 {
	session, _ := c.directory.Lease()
	return session
}

// daemons returns those here that the directory is to know.
func (c *member) daemons() []*engine.Daemon {
	var out []*engine.Daemon
	for _, d := range c.rt.table.Daemons() {
		if leaderOf(d) != nil {
			out = append(out, d)
		}
	}
	return out
}

func (c *member) wakeLeaders() {
	for _, d := range c.daemons() {
		leaderOf(d).Wake()
	}
}

// verify finds, for a new session, which of the daemons here are this node's
// still.
func (c *member) verify(session uint64) {
	for _, d := range c.daemons() {
		c.lookAt(d, session)
	}
	c.look()
}

// lookAt finds whether a daemon here is this node's still.
func (c *member) lookAt(d *engine.Daemon, session uint64) {
	if e, ok := c.directory.Look(d.Entity()); ok {
		c.compareWith(d, e, session)
	} else {
		c.enrol(d, session)
	}
}

// lookSoon has look look.
func (c *member) lookSoon() {
	if c != nil {
		c.tell(c.look)
	}
}

// look finds what is to be done that no news told of.
func (c *member) look() {
	session := c.sessionNamed()
	if session == 0 {
		return
	}
	for _, d := range c.daemons() {
		leaderOf(d).Wake()
		if !leaderOf(d).VerifiedIn(session) {
			c.lookAt(d, session)
		}
	}
	for _, e := range c.directory.Daemons() {
		if e.InSync(c.env.Self) && !c.directory.Here(e.Owner) || e.Owner == c.env.Self {
			c.compare(e)
		}
	}
}

// compare holds what the directory says of a daemon against what is here.
func (c *member) compare(e directory.Entry) {
	if now, ok := c.directory.Look(e.Entity); ok && now.Revision > e.Revision {
		return // its own news is to come
	}
	d := c.rt.table.Daemon(e.Entity)
	switch {
	case d != nil && leaderOf(d) != nil:
		c.compareWith(d, e, c.sessionNamed())
	case e.Owner == c.env.Self:
		c.finishFailover(e)
	default:
		if c.moved != nil {
			c.moved(daemon.Moved{Entity: e.Entity, Node: e.Owner, Epoch: e.Epoch})
		}
		if e.InSync(c.env.Self) && !c.directory.Here(e.Owner) {
			c.failOver(e)
		}
	}
}

// compareWith is compare of a daemon that is here.
func (c *member) compareWith(d *engine.Daemon, e directory.Entry, session uint64) {
	if leaderOf(d).IsUnread() || leaderOf(d).Knows(e) {
		return // it is looked at when it is read; what this node itself has written since is newer
	}
	if e.Owner == c.env.Self {
		c.compareFirst(d, e, session)
		return
	}
	m := c.rt.table.Look(d.Entity()).Leaving
	if m != nil && m.MovesTo(e.Owner, e.Epoch) {
		return // the migration ends by itself
	}
	c.confirm(d)
}

// confirm asks the directory itself whose a daemon is before it is let go of: news may
// be from before it came here. Where the directory is not reached, it is looked at again.
func (c *member) confirm(d *engine.Daemon) {
	ctx, cancel := context.WithTimeout(c.env.Context, c.directory.Self().TTL)
	defer cancel()
	session := c.sessionNow()
	switch e, err := c.directory.Read(ctx, d.Entity()); {
	case err != nil:
		c.env.Logger.Warn("asking the directory whose a daemon is", "daemon", d.Entity().Origin(), "error", err)
	case e.Owner == c.env.Self:
		c.compareWith(d, e, session)
	case !leaderOf(d).Knows(e):
		c.supersede(d, e)
	}
}

// enrol makes a daemon known that the directory does not know: it was made before
// the node was a member.
func (c *member) enrol(d *engine.Daemon, session uint64) {
	if leaderOf(d).IsUnread() {
		return // it is looked at when it is read
	}
	if c.rt.holds.IsUnconfirmed(d.Entity()) {
		return // that the directory knows nothing of it does not make it this node's
	}
	ctx, cancel := context.WithTimeout(c.env.Context, c.directory.Self().TTL)
	defer cancel()
	i := d.Info()
	name, epoch := i.Name, i.Epoch
	known := directory.Daemon{Entity: d.Entity(), Name: name, Owner: c.env.Self, Epoch: epoch}
	if was, ok := c.recall(d.Entity()); ok { // the directory was made anew
		known.Want, known.Ack = was.Want, was.Ack
	}
	e, err := c.directory.Create(ctx, known)
	if taken := new(directory.NameTakenError); errors.As(err, &taken) {
		c.env.Logger.Warn("a daemon from before this node was in the cluster has a name twice: ask for it by its id", "daemon", d.Entity().Origin(), "name", name, "other", taken.By.Origin(), "node", taken.Owner)
		e, err = c.directory.Put(ctx, directory.Entry{}, known)
	}
	if err != nil {
		if e, err = c.directory.Read(ctx, d.Entity()); err != nil {
			c.env.Logger.Warn("making a daemon known to the cluster", "daemon", d.Entity().Origin(), "error", err)
			return
		}
	}
	c.compareWith(d, e, session)
}
