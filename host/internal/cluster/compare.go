package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/holds"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/identity"
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
func (c *Member) compareFirst(d *engine.Daemon, e directory.Entry, session uint64) {
	l := LeaderOf(d)
	if !l.BeginComparing(e, session, d.Info().Epoch, c.config.Holds.Has(d.Entity())) {
		return
	}
	restored := c.config.Holds.IsUnconfirmed(d.Entity())
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
			c.env.Logger.Warn("a daemon waits: comparing it with its standbys", "daemon", d.Entity().Origin(), "error", err)
		}
	}()
}

// settleFirst is compareFirst's work: one row of the table. Where it returns an error,
// the daemon is looked at again.
func (c *Member) settleFirst(ctx context.Context, d *engine.Daemon, e directory.Entry, session uint64) error {
	l := LeaderOf(d)
	ours, err := reach.Of(c.env.Store, d.Entity())
	if err != nil { // a history that cannot be read is none
		c.env.Logger.Error("a daemon's history cannot be read", "daemon", d.Entity().Origin(), "error", err)
		ours = reach.Extent{}
	}
	if epoch := max(d.Info().Epoch, ours.Epoch); epoch > e.Epoch { // it was mended, or confirmed
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
		to, whole, err := c.compareWithStandbys(ctx, d.Entity(), ours, e)
		switch {
		case err != nil:
			l.Wait(heldBy(d.Entity(), err))
			return err
		case to != nil && to.verdict == reach.TheirsGoesOn:
			return c.handOver(ctx, d, e, to)
		case to != nil:
			return c.config.Holds.Hold(d.Entity(), &holds.Record{Reason: daemon.HoldForked, Node: to.node, Epoch: to.has.Epoch, Index: to.has.Next, Proof: to.proof,
				Why: fmt.Sprintf("standby %s, which is in sync, has another history: %d records up to epoch %d, here are %d up to epoch %d", to.node, to.has.Next, to.has.Epoch, ours.Next, ours.Epoch)})
		case ours.Epoch < e.Epoch && ours.Next > 0:
			return c.config.Holds.Hold(d.Entity(), &holds.Record{Reason: daemon.HoldSurpassed, Epoch: e.Epoch,
				Why: fmt.Sprintf("the directory granted this node epoch %d, and the history here ends in epoch %d: the data directory is older", e.Epoch, ours.Epoch)})
		case data.older && !whole && len(e.Standbys) > 0:
			err := c.config.Losses.Record(d.Entity(), d.Info().Sequence, e.Epoch, "this node's data directory is older than its last run, and what its standbys had in memory is gone")
			if err != nil {
				return err
			}
		}
	}
	if c.config.Holds.Has(d.Entity()) { // it was compared, for a standby that has more goes on at once
		return nil
	}
	if now, ok := c.directory.Look(d.Entity()); ok && now.Revision > e.Revision {
		c.tell(func() { c.CompareWith(d, now, c.SessionNow()) })
		return nil
	}
	l.SetCompared()
	if d.TryLock() { // who has the lock shows it
		d.Show()
		d.Unlock()
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
func (c *Member) compareWithStandbys(ctx context.Context, id identity.EntityID, ours reach.Extent, e directory.Entry) (_ *rival, whole bool, err error) {
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

// Waiting returns the daemons that wait for a standby to be compared with.
func (c *Member) Waiting() []daemon.HeldDaemon {
	if c == nil {
		return nil
	}
	var out []daemon.HeldDaemon
	for _, d := range c.Daemons() {
		if h := LeaderOf(d).WaitsFor(); h != nil {
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

// WaitsFor returns for whom a daemon or copy here waits; nil: it does not.
func (c *Member) WaitsFor(id identity.EntityID) *daemon.HeldDaemon {
	d := c.config.Table.Daemon(id)
	if d != nil {
		if l := LeaderOf(d); l != nil {
			return l.WaitsFor()
		}
		return nil
	}
	if s := c.copies.Find(id); s != nil {
		return s.WaitsFor()
	}
	return nil
}
