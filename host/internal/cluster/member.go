package cluster

import (
	"context"
	"errors"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/holds"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Table is who is where, as the node's part in its cluster asks and changes it.
type Table interface {
	// Daemon returns the daemon; nil: it is not here.
	Daemon(identity.EntityID) *engine.Daemon

	// Daemons returns those that are here, in no order.
	Daemons() []*engine.Daemon

	// IsComing reports whether the daemon is on its way here, by a migration.
	IsComing(identity.EntityID) bool

	// MovesTo reports whether the daemon is on its way from here to the node, to be there
	// under the epoch.
	MovesTo(id identity.EntityID, to identity.NodeID, epoch uint64) bool

	// IsKnown reports whether the daemon is here, or what became of it here is known.
	IsKnown(identity.EntityID) (bool, error)

	// Return makes d, which is not here, the daemon that is here: serve commits what the
	// store keeps of that, given what is known of where it went. Where serve fails nothing
	// has changed. d's name gives way to that of a daemon that has it.
	Return(d *engine.Daemon, serve func(went table.Tombstone) error) error
}

// Node is what else the node's part in its cluster asks of its node.
type Node interface {
	// Open returns nil, or daemon.ErrShuttingDown.
	Open() error

	// Ready returns nil, or why the node takes no events.
	Ready() error

	// Forget takes a daemon, which went as t says, out of the tables; stored says that the
	// store has t.
	Forget(d *engine.Daemon, t table.Tombstone, stored bool)

	// KeepEvidence keeps the history here of a daemon that goes on elsewhere.
	KeepEvidence(id identity.EntityID, epoch uint64, why string) error

	// Confirm ends a hold: the copy here goes on.
	Confirm(ctx context.Context, id identity.EntityID) (chain.Mended, error)

	// IsConfirmed reports whether the node was never restored from a backup, or was
	// confirmed since.
	IsConfirmed() bool
}

// Config is what a member is made of.
type Config struct {
	Env        *env.Env
	Directory  *directory.Member // not running yet; the member runs it
	Mesh       mesh.Mesh
	Table      Table
	Node       Node
	Modules    *registry.Registry
	Holds      *holds.Holds
	Losses     *losses.Losses
	Evidence   *evidence.Records
	Subscriber *subscriber.Subscriber
	Daemons    *engine.Config // of which daemons are made

	// Came, Gone, Removed and Moved are called as host.ClusterOptions says; each may be nil.
	Came    func(directory.Node)
	Gone    func(identity.NodeID)
	Removed func(directory.Node)
	Moved   func(daemon.Moved)

	Lag time.Duration // see ClusterOptions
}

// Member is a node's part in a cluster. A nil member is of a node of no cluster: what needs
// none does nothing.
type Member struct {
	config    Config
	env       *env.Env
	directory *directory.Member
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

// New makes a member, which does nothing until start.
func New(m Config) *Member {
	c := &Member{config: m, env: m.Env, directory: m.Directory, kick: make(chan struct{}, 1), lifeTurn: make(chan struct{}, 1), done: make(chan struct{})}
	c.memory.daemons = make(map[identity.EntityID]directory.Daemon)
	c.copies = standbys.New(m.Env, m.Evidence, standbysNode{c})
	c.givingUp = make(map[identity.EntityID]bool)
	c.leaders = leader.NewGroup(m.Env, m.Directory, m.Mesh, m.Evidence, leadersNode{c}, m.Lag)
	return c
}

// Directory returns the cluster's directory, as this node reads and changes it. It is nil for a
// node of no cluster.
func (c *Member) Directory() *directory.Member {
	if c == nil {
		return nil
	}
	return c.directory
}

// Copies returns the copies that this node keeps of other nodes' daemons.
func (c *Member) Copies() *standbys.Set { return c.copies }

// Holding returns daemon.ErrHolding, with why, while the node's lease does not hold.
func (c *Member) Holding() error {
	if c == nil {
		return nil
	}
	return c.leaders.Holding()
}

// Done returns a channel that is closed once the node, whose Context has ended, has left
// the cluster.
func (c *Member) Done() <-chan struct{} { return c.done }

// Recover reads what the store keeps of the node's part in its cluster.
func (c *Member) Recover() error {
	return errors.Join(c.recoverLife(), c.copies.Recover(), c.recoverMemory())
}

// IsComing reports whether a daemon that the directory says is this node's is about to
// be.
func (c *Member) IsComing(id identity.EntityID) bool {
	return c.config.Table.IsComing(id) || c.copies.Find(id) != nil
}

// Start begins the member's work. What it hears is dealt with by one goroutine.
func (c *Member) Start() {
	ctx := c.env.Context
	c.env.Work.Go(func() { // Start is counted: Shutdown waits
		c.work(ctx)
	})
	go func() {
		defer close(c.done)
		c.directory.Run(ctx, observer{c})
	}()
}

// tell queues a piece of news.
func (c *Member) tell(fn func()) {
	c.mu.Lock()
	c.news = append(c.news, fn)
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *Member) work(ctx context.Context) {
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

// observer hears the directory's news for a member.
type observer struct{ *Member }

// DaemonChanged implements directory.Observer.
func (c observer) DaemonChanged(id identity.EntityID, e *directory.Entry) {
	if e == nil {
		return // a copy here stays until the daemon is removed
	}
	c.tell(func() {
		c.remember(*e)
		c.compare(*e)
	})
}

// DaemonRemoved implements directory.Observer.
func (c observer) DaemonRemoved(r directory.Removal) {
	c.tell(func() { c.removed(r) })
}

// NodeCame implements directory.Observer.
func (c observer) NodeCame(n directory.Node) {
	c.tell(func() {
		if n.ID() != c.env.Self && c.config.Came != nil {
			c.config.Came(n)
		}
		c.wakeLeaders()
	})
}

// NodeGone implements directory.Observer.
func (c observer) NodeGone(id identity.NodeID) {
	c.tell(func() {
		if c.config.Gone != nil {
			c.config.Gone(id)
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
func (c observer) NodeRemoved(n directory.Node) {
	if c.config.Removed != nil && n.ID() != c.env.Self {
		c.tell(func() { c.config.Removed(n) })
	}
}

// LeaseChanged implements directory.Observer.
func (c observer) LeaseChanged(held bool) {
	if held {
		c.env.Logger.Info("this node's lease holds: it answers for its daemons")
	} else {
		c.env.Logger.Error("this node's lease has ended: its daemons hold their events until the directory is reached")
	}
	c.tell(func() {
		for _, d := range c.Daemons() {
			LeaderOf(d).Advance()
		}
	})
}

// SessionBegan implements directory.Observer.
func (c observer) SessionBegan(session uint64) {
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
func (c *Member) sessionNamed() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// SessionNow returns the node's session; 0: it has none.
func (c *Member) SessionNow() uint64 {
	session, _ := c.directory.Lease()
	return session
}

// Daemons returns those here that the directory is to know.
func (c *Member) Daemons() []*engine.Daemon {
	var out []*engine.Daemon
	for _, d := range c.config.Table.Daemons() {
		if LeaderOf(d) != nil {
			out = append(out, d)
		}
	}
	return out
}

func (c *Member) wakeLeaders() {
	for _, d := range c.Daemons() {
		LeaderOf(d).Wake()
	}
}

// verify finds, for a new session, which of the daemons here are this node's
// still.
func (c *Member) verify(session uint64) {
	for _, d := range c.Daemons() {
		c.lookAt(d, session)
	}
	c.look()
}

// lookAt finds whether a daemon here is this node's still.
func (c *Member) lookAt(d *engine.Daemon, session uint64) {
	if e, ok := c.directory.Look(d.Entity()); ok {
		c.CompareWith(d, e, session)
	} else {
		c.enrol(d, session)
	}
}

// LookSoon has look look.
func (c *Member) LookSoon() {
	if c != nil {
		c.tell(c.look)
	}
}

// look finds what is to be done that no news told of.
func (c *Member) look() {
	session := c.sessionNamed()
	if session == 0 {
		return
	}
	for _, d := range c.Daemons() {
		LeaderOf(d).Wake()
		if !LeaderOf(d).VerifiedIn(session) {
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
func (c *Member) compare(e directory.Entry) {
	if now, ok := c.directory.Look(e.Entity); ok && now.Revision > e.Revision {
		return // its own news is to come
	}
	d := c.config.Table.Daemon(e.Entity)
	switch {
	case d != nil && LeaderOf(d) != nil:
		c.CompareWith(d, e, c.sessionNamed())
	case e.Owner == c.env.Self:
		c.finishFailover(e)
	default:
		if c.config.Moved != nil {
			c.config.Moved(daemon.Moved{Entity: e.Entity, Node: e.Owner, Epoch: e.Epoch})
		}
		if e.InSync(c.env.Self) && !c.directory.Here(e.Owner) {
			c.failOver(e)
		}
	}
}

// CompareWith is compare of a daemon that is here.
func (c *Member) CompareWith(d *engine.Daemon, e directory.Entry, session uint64) {
	if LeaderOf(d).IsUnread() || LeaderOf(d).Knows(e) {
		return // it is looked at when it is read; what this node itself has written since is newer
	}
	if e.Owner == c.env.Self {
		c.compareFirst(d, e, session)
		return
	}
	if c.config.Table.MovesTo(d.Entity(), e.Owner, e.Epoch) {
		return // the migration ends by itself
	}
	c.confirm(d)
}

// confirm reads from the directory whose a daemon is, before this node drops it: what was
// heard may be from before the daemon came here. Where the directory does not answer, the
// next look asks again.
func (c *Member) confirm(d *engine.Daemon) {
	ctx, cancel := context.WithTimeout(c.env.Context, c.directory.Self().TTL)
	defer cancel()
	session := c.SessionNow()
	switch e, err := c.directory.Read(ctx, d.Entity()); {
	case err != nil:
		c.env.Logger.Warn("asking the directory whose a daemon is", "daemon", d.Entity().Origin(), "error", err)
	case e.Owner == c.env.Self:
		c.CompareWith(d, e, session)
	case !LeaderOf(d).Knows(e):
		c.supersede(d, e)
	}
}

// enrol makes a daemon known that the directory does not know: it was made before
// the node was a member.
func (c *Member) enrol(d *engine.Daemon, session uint64) {
	if LeaderOf(d).IsUnread() {
		return // it is looked at when it is read
	}
	if c.config.Holds.IsUnconfirmed(d.Entity()) {
		return // that the directory knows nothing of it does not make it this node's
	}
	ctx, cancel := context.WithTimeout(c.env.Context, c.directory.Self().TTL)
	defer cancel()
	i := d.Info()
	name, epoch := i.Name, i.Epoch
	known := directory.Daemon{Entity: d.Entity(), Name: name, Owner: c.env.Self, Epoch: epoch}
	if was, ok := c.Recall(d.Entity()); ok { // the directory was made anew
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
	c.CompareWith(d, e, session)
}
