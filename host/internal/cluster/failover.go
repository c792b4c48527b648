package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// failOver asks the directory for a daemon whose owner is gone, where the copy here
// is whole. The one that stands first among those in sync asks at once.
func (c *Member) failOver(e directory.Entry) {
	s := c.copies.Find(e.Entity)
	if s == nil {
		return
	}
	at := s.State()
	if able := at.Whole && at.Record != nil && !at.Fenced && at.Epoch <= e.Epoch; !able {
		c.env.Logger.Warn("a daemon's owner is gone, and the copy here is not whole: it waits", "daemon", e.Entity.Origin(), "owner", e.Owner)
		return
	}
	if at.Fed {
		c.failOverInTurn(e, s)
		return
	}
	c.fromDisk(e, s, func() { c.failOverInTurn(e, s) })
}

// failOverInTurn is failOver of a copy that may go on.
func (c *Member) failOverInTurn(e directory.Entry, s *standbys.Standby) {
	if !c.env.Work.Begin() {
		return
	}
	rank := 0
	for _, n := range e.Standbys {
		if n == c.env.Self {
			break
		}
		if c.directory.Here(n) {
			rank++
		}
	}
	go func() {
		defer c.env.Work.Done()
		if rank > 0 {
			timer := time.NewTimer(time.Duration(rank) * c.directory.Self().TTL / 4)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-c.env.Context.Done():
				return
			}
		}
		if err := c.askFor(c.env.Context, e, s); err != nil && !errors.Is(err, directory.ErrConflict) {
			c.env.Logger.Error("taking over a daemon", "daemon", e.Entity.Origin(), "error", err)
		}
	}()
}

// askFor takes nothing more of the old owner, and then asks. What that one has
// acknowledged by then is here.
func (c *Member) askFor(ctx context.Context, e directory.Entry, s *standbys.Standby) error {
	if s.State().Fenced {
		return nil // it is being asked for
	}
	s.Fence()
	at := s.State()
	if !at.Whole {
		s.Unfence()
		return fmt.Errorf("the copy of daemon %s is not whole", e.Entity.Origin())
	}
	if err := s.Say(c.env.Store, true); err != nil { // a restart goes on with it
		s.Unfence()
		return err
	}
	got, err := c.directory.TakeOver(ctx, e)
	for ambiguous := err != nil && !errors.Is(err, directory.ErrConflict) && !errors.Is(err, directory.ErrNoSession); ambiguous; {
		now, readErr := c.directory.Read(ctx, e.Entity)
		switch {
		case readErr == nil && now.Owner == c.env.Self:
			got, err, ambiguous = now, nil, false
		case readErr == nil && now.Revision != e.Revision, errors.Is(readErr, directory.ErrNotListed):
			err, ambiguous = directory.ErrConflict, false
		case ctx.Err() != nil:
			ambiguous = false
		default: // as it was: the request may still arrive, or this one does
			got, err = c.directory.TakeOver(ctx, e)
			ambiguous = err != nil
			if ambiguous && errors.Is(err, directory.ErrConflict) {
				if now, readErr = c.directory.Read(ctx, e.Entity); readErr == nil && now.Revision == e.Revision {
					ambiguous = false // the owner is back
				}
			}
			if ambiguous {
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
	}
	if err != nil {
		err = errors.Join(err, s.Say(c.env.Store, at.Said))
		s.Unfence()
		return err
	}
	return c.ActivateFenced(ctx, got, s)
}

// finishFailover activates a daemon that the directory says is this node's, and
// that is not here yet: it was taken over before a restart, or has moved here.
func (c *Member) finishFailover(e directory.Entry) {
	s := c.copies.Find(e.Entity)
	if c.config.Table.IsComing(e.Entity) {
		return
	}
	if s == nil {
		c.giveUp(e)
		return
	}
	at := s.State()
	if useless := !at.Fenced && (!at.Whole && !at.Sound || at.Record == nil); useless {
		c.giveUp(e)
		return
	}
	if busy := at.Fenced || at.Epoch >= e.Epoch; busy {
		return
	}
	activate := func() {
		s.Fence()
		if err := c.ActivateFenced(c.env.Context, e, s); err != nil {
			c.env.Logger.Error("taking over a daemon", "daemon", e.Entity.Origin(), "error", err)
		}
	}
	if at.Fed {
		activate()
		return
	}
	c.fromDisk(e, s, activate)
}

// giveUp hands a daemon to a standby in sync that proves what it has: the directory says
// that it is this node's, whose disk has neither the daemon nor a copy that can go on. It
// does not block, and runs once at a time for a daemon.
func (c *Member) giveUp(e directory.Entry) {
	c.mu.Lock()
	busy := c.givingUp[e.Entity] || len(e.Standbys) == 0
	if !busy {
		c.givingUp[e.Entity] = true
	}
	c.mu.Unlock()
	if busy {
		return
	}
	done := func() {
		c.mu.Lock()
		delete(c.givingUp, e.Entity)
		c.mu.Unlock()
	}
	if !c.env.Work.Begin() {
		done()
		return
	}
	go func() {
		defer c.env.Work.Done()
		defer done()
		to, _, err := c.compareWithStandbys(c.env.Context, e.Entity, reach.Extent{}, e)
		if err == nil && (to == nil || to.verdict != reach.TheirsGoesOn) {
			err = errors.New("no standby in sync proves that it has more")
		}
		if err == nil && c.hasSince(e.Entity) {
			return
		}
		if err == nil {
			_, err = c.nameOwner(c.env.Context, e, to.node)
		}
		switch {
		case err == nil:
			c.env.Logger.Error("this node's disk has nothing of a daemon that is its own by the directory: the daemon goes on at a standby", "daemon", e.Entity.Origin(), "name", e.Name, "standby", to.node)
		case c.env.Context.Err() == nil:
			c.env.Logger.Warn("a daemon waits: this node's disk has nothing of it that can go on", "daemon", e.Entity.Origin(), "name", e.Name, "error", err)
		}
	}()
}

// hasSince reports whether the daemon, of which this node had nothing, is here by now or
// about to be.
func (c *Member) hasSince(id identity.EntityID) bool {
	return c.config.Table.Daemon(id) != nil || c.config.Table.IsComing(id)
}

// ActivateFenced makes a fenced copy the daemon, and takes the fence away; where that fails,
// the next look tries again. Where another goroutine has activated it meanwhile, nothing is
// to be done.
func (c *Member) ActivateFenced(ctx context.Context, e directory.Entry, s *standbys.Standby) error {
	if d := c.config.Table.Daemon(e.Entity); d != nil && d.Info().Epoch >= e.Epoch {
		s.Unfence()
		return nil
	}

	err := c.activate(ctx, e, s)
	s.Unfence()
	return err
}

// activate makes the copy the daemon that it is of. The copy is fenced.
func (c *Member) activate(ctx context.Context, e directory.Entry, s *standbys.Standby) error {
	at := s.State()
	encoded, from, whole := at.Record, at.Owner, at.Whole
	rec, err := stored.DecodeRecord(encoded)
	if err != nil {
		return err
	}
	d := engine.FromRecord(c.config.Daemons, e.Entity, encoded)
	d.Lock()
	defer d.Unlock()
	if d.Position().State != lifecycle.Migrating {
		return d.Position().Gone
	}
	lasting, err := stored.Facts(c.env.Store, e.Entity)
	if err == nil {
		err = d.Making().RebuildWith(ctx, nil)
	}
	if err != nil {
		return err
	}
	if lasting != nil { // the record may be newer in all else
		d.Making().CountErrors(lasting.Errors)
	}
	how := chain.MendFailover
	if e.Revision == 0 {
		how = chain.MendRecovery // no directory names the owner yet
	}
	err = c.config.Table.Return(d, func(went table.Tombstone) error {
		if err := c.serve(d, e, from, rec.Key, lasting, went); err != nil {
			return err
		}
		c.Attach(d, leader.Beginning{})
		if !whole {
			err := c.config.Losses.Record(d.Entity(), d.Position().Head.Sequence, e.Epoch-1, "the copy that goes on was acknowledged in memory, which its node has lost")
			if err != nil {
				c.env.Logger.Error("recording a loss", "daemon", d.Entity().Origin(), "error", err)
			}
		}
		if e.Revision != 0 {
			LeaderOf(d).Verified(e, c.SessionNow())
		}
		return nil
	})
	if err != nil {
		return err
	}

	c.copies.Remove(d.Entity())
	d.Resume()
	c.config.Subscriber.Start(d.Entity(), d.Position().Ledger.All())
	d.Memory().AccountMemory()
	d.Notify(daemon.WasMended, how.String())
	if c.config.Moved != nil { // senders of this node turn here
		c.config.Moved(daemon.Moved{Entity: d.Entity(), Node: c.env.Self, Epoch: d.Position().Epoch, Time: c.env.Clock()})
	}
	c.env.Logger.Warn("a daemon was taken over: its owner is gone, or has less", "daemon", d.Entity().Origin(), "name", d.Name(), "from", from, "epoch", d.Position().Epoch, "sequence", d.Position().Head.Sequence)
	return nil
}

// serve opens the daemon's key and signs, durably, that it goes on here, and is no
// longer where it went. It needs d.mu.
func (c *Member) serve(d *engine.Daemon, e directory.Entry, from identity.NodeID, sealed []byte, lasting *snapshot.Facts, went table.Tombstone) error {
	if len(sealed) > 0 {
		env, err := identity.ParseEnvelope(sealed)
		if err != nil {
			return fmt.Errorf("the daemon's key: %w", err)
		}
		key, err := env.Open(c.env.Node, standbyLink, d.Entity())
		if err != nil {
			return fmt.Errorf("the daemon's key: %w", err)
		}
		d.Making().SetKey(key)
	}
	how := chain.MendFailover
	if e.Revision == 0 {
		how = chain.MendRecovery
	}
	fact := chain.Mended{How: how, After: d.Position().Head.Sequence, Epoch: e.Epoch}
	b := &store.Batch{}
	if err := d.Upkeep().AppendFact(b, &fact); err != nil {
		return err
	}
	rec, err := d.Making().EncodeRecord()
	if err != nil {
		return err
	}
	entity := d.Entity()
	b.Put(store.Daemons, entity[:], rec)
	standbys.Forget(b, d.Entity())
	if err := losses.Keep(b, d.Entity(), lasting); err != nil {
		return err
	}
	went.Raise(b, d.Entity())
	b.Generation = d.Position().Generation
	if err := c.env.Store.Commit(b); err != nil {
		return fmt.Errorf("writing that daemon %s goes on here: %w", d.Entity().Origin(), err)
	}
	c.config.Losses.Show(d.Entity(), lasting)
	d.Making().GoOn(e.Epoch)
	return nil
}

// supersede lets go of a daemon that another node owns: what was not acknowledged
// here is nobody's. Where this node is to be a standby, history and state stay, as a copy
// that is of no use until the owner has fed it: most of it need not be sent again.
func (c *Member) supersede(d *engine.Daemon, e directory.Entry) {
	why := &daemon.MovedError{Moved: daemon.Moved{Entity: d.Entity(), Node: e.Owner, Epoch: e.Epoch, Time: c.env.Clock()}}
	LeaderOf(d).End(why)
	d.Lock()
	defer d.Unlock()
	if d.Position().State == lifecycle.Moved {
		return
	}
	t := table.Tombstone{Name: d.Name(), Node: e.Owner, Epoch: e.Epoch, Time: c.env.Clock().UnixNano()}
	b := &store.Batch{}
	var err error
	var s *standbys.Standby
	if goesOn := d.Position().State.Serves(); goesOn && c.wants(e) {
		stored.ForgetRole(b, d.Entity())
		s, err = standbys.Keep(b, d.Entity(), e.Owner, e.Epoch)
	} else {
		stored.Forget(b, d.Entity())
	}
	if err == nil {
		err = t.Bury(b, d.Entity())
	}
	if err == nil {
		err = c.env.Store.Commit(b)
	}
	if err == nil && s != nil {
		c.copies.Add(s)
	}
	if err != nil { // it serves nothing all the same, and the next start finds it so again
		c.env.Logger.Error("forgetting a daemon that another node took over", "daemon", d.Entity().Origin(), "error", err)
	}
	d.End(lifecycle.Leave, why)
	c.config.Node.Forget(d, t, err == nil)
	c.config.Subscriber.LeaveAll(d.Entity())
	c.env.Logger.Warn("another node took a daemon over", "daemon", d.Entity().Origin(), "name", t.Name, "node", e.Owner, "epoch", e.Epoch)
	if c.config.Moved != nil {
		c.config.Moved(why.Moved)
	}
}

// wants reports whether this node is to be a standby of another's daemon, as far as it
// knows: its owner decides.
func (c *Member) wants(e directory.Entry) bool {
	if e.Want == 0 {
		return false
	}
	rest := e.Want
	for _, n := range e.Standbys {
		if n == c.env.Self {
			return true
		}
		if c.directory.Here(n) {
			rest--
		}
	}
	for _, n := range c.directory.Candidates(e.Entity, e.Owner) {
		if rest <= 0 {
			break
		}
		if n == c.env.Self {
			return true
		}
		if !e.InSync(n) {
			rest--
		}
	}
	return false
}
