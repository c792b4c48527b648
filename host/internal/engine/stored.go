package engine

import (
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
)

// apartFrom is from how many bytes the daemon's state goes to a file. One with
// standbys is sent to them as it is stored, up to what goes into one message.
func (d *Daemon) apartFrom() int {
	if d.hasStandbys() {
		return stored.MaxStandbyState
	}
	return stored.LargeState
}

// hasStandbys reports whether the daemon has standbys, or is to have some.
func (d *Daemon) hasStandbys() bool { return d.leader != nil && d.leader.HasStandbys() }

// StoreIfDue stores the state after so many events, bytes or time. It needs
// d.mu.
func (x Upkeep) StoreIfDue(now int64) {
	d := x.d
	if d.env.Store == nil || d.kind == "" || d.index <= d.snapshotIndex || !d.saved.Due(d.Limits(), now) {
		return
	}
	d.noteUnstored(d.store())
}

// noteUnstored says once in the log that the daemon's state cannot be stored, and once that
// it is again.
func (d *Daemon) noteUnstored(err error) {
	if errors.Is(err, daemon.ErrNotPortable) {
		return
	}
	before := d.unstored
	d.unstored = err
	switch {
	case err != nil && before == nil:
		d.env.Logger.Warn("a daemon's state is not stored: its history grows, and is replayed at a start", "daemon", d.id.Origin(), "name", d.name, "error", err)
		d.log.Add(2, "its state is not stored: "+err.Error())
	case err == nil && before != nil:
		d.env.Logger.Info("a daemon's state is stored again", "daemon", d.id.Origin(), "name", d.name)
	}
}

// store submits the daemon's state to the store, so that a restart replays
// only what comes after. It needs d.mu.
func (d *Daemon) store() error {
	b := &store.Batch{}
	if err := d.putState(b); err != nil {
		return err
	}
	d.commit(b)
	d.startTrimming()
	return nil
}

// putState stores the daemon's state as it is: what changed since the last
// time, or all of it. It needs d.mu. When the batch fails, the daemon must be
// read from the store again.
func (d *Daemon) putState(b *store.Batch) error {
	d.saved.Try(d.env.Clock().UnixNano())
	if d.nextIsDelta() {
		if err := d.putDelta(b); err == nil || !errors.Is(err, errNoDelta) {
			return err
		}
	}
	return d.putWhole(b)
}

// nextIsDelta reports whether what is stored next is what changed since. It needs d.mu.
func (d *Daemon) nextIsDelta() bool {
	return d.saved.NextIsDelta(d.index, uint64(d.Limits().History)) && d.Image().Form() == snapshot.FormMemory
}

// putWhole stores all of the daemon's state. It needs d.mu.
func (d *Daemon) putWhole(b *store.Batch) error {
	s, err := d.Image().SnapshotOf(d.Image().Form(), false, true)
	if err != nil {
		return err
	}
	if err := d.saved.PutWhole(d.env.Store, b, d.index, s, d.apartFrom()); err != nil {
		return err
	}

	d.snapshotIndex = d.index
	d.saved.Follow(s.Header.Form == snapshot.FormMemory && d.daemon.(capturer).Track() == nil)
	return nil
}

// errNoDelta says that a whole snapshot has to be stored.
var errNoDelta = errors.New("what changed is not known")

// putDelta stores what of the daemon's state has changed, or returns errNoDelta. It needs
// d.mu.
func (d *Daemon) putDelta(b *store.Batch) error {
	memory, err := d.daemon.(capturer).SaveChanges()
	if err != nil {
		d.saved.Follow(false)
		return fmt.Errorf("%w: %w", errNoDelta, err)
	}

	s, err := d.headerWith(snapshot.FormDelta, d.horizon.Since(d.saved.Since()))
	if err != nil {
		return err
	}
	if err := d.saved.Delta(s, d.horizon.Forgotten(), memory); err != nil {
		return err
	}
	if err := s.Seal(d.key); err != nil {
		return err
	}
	if err := d.saved.PutDelta(d.env.Store, b, d.index, s, d.apartFrom()); err != nil {
		return err
	}
	d.snapshotIndex = d.index
	return nil
}

// loadStored restores what is stored of the daemon's state; false where nothing is. at is
// the least time that the daemon's clock may show. It needs d.mu. A delta that does not
// hold is left out with those behind it, loudly: the history from there is replayed in its
// place.
func (d *Daemon) loadStored(at int64) (bool, error) {
	l, err := d.saved.Load(d.env.Store, d.id)
	if l == nil || err != nil {
		return false, err
	}
	if l.Damage != nil {
		d.env.Logger.Error("a part of a daemon's stored state is damaged: its history is replayed instead", "daemon", d.id.Origin(), "error", l.Damage)
	}

	d.index, d.snapshotIndex = l.Index, l.Index
	d.epoch = max(d.epoch, l.Whole.Header.Epoch)
	if err := d.Making().Restore(l.Whole, at, l.Changes...); err != nil {
		return false, err
	}

	d.horizon = l.Marks
	if c, ok := d.daemon.(capturer); ok && d.saved.Follows() {
		d.saved.Follow(c.Track() == nil)
	}
	return true, nil
}

// dearForStandbys reports whether storing the state now would send all of a large state
// to standbys: at an end what came since is rather replayed at the next start. It needs
// d.mu.
func (d *Daemon) dearForStandbys() bool {
	return d.hasStandbys() && d.saved.IsLarge() && !d.nextIsDelta()
}
