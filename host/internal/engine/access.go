package engine

import (
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/internal/textlog"
	"wasmhost.example/identity"
)

// What is read and set of a daemon by the rooms above. Unless it says otherwise a method
// here needs the daemon's lock.

// Lock takes the daemon's lock, whatever the daemon's state. The daemon holds it while it
// processes an event: enter, look and attend wait with less patience.
func (d *Daemon) Lock() { d.mu.Lock() }

// TryLock is Lock where that needs no waiting, and reports whether it took the lock.
func (d *Daemon) TryLock() bool { return d.mu.TryLock() }

// Unlock gives the daemon's lock back.
func (d *Daemon) Unlock() { d.mu.Unlock() }

// State is where the daemon stands in its life.
func (d *Daemon) State() lifecycle.State { return d.life.State() }

// Gone says why the daemon takes no more events; nil: it takes them.
func (d *Daemon) Gone() error { return d.gone }

// Code is the daemon's code; nil of a passive one.
func (d *Daemon) Code() daemon.Daemon { return d.daemon }

// Module is the digest of the daemon's module, which nobody changes; nil of native code.
func (d *Daemon) Module() []byte { return d.module }

// PreviousModule is the digest of the module before the last upgrade, which nobody changes;
// nil: there was none.
func (d *Daemon) PreviousModule() []byte { return d.previous }

// Key is the daemon's key, which stays the daemon's.
func (d *Daemon) Key() *identity.KeyPair { return d.key }

// Epoch is under which the daemon's outputs are.
func (d *Daemon) Epoch() uint64 { return d.epoch }

// Applied is how many events the daemon has applied.
func (d *Daemon) Applied() uint64 { return d.applied }

// Head is the daemon's last output.
func (d *Daemon) Head() chain.Link { return d.chain.Head() }

// HeadHash is the hash of Head and its payload.
func (d *Daemon) HeadHash() chain.Hash { return d.chain.HeadHash() }

// HeadPayload is Head's, which stays the daemon's.
func (d *Daemon) HeadPayload() []byte { return d.payload }

// NextIndex is that of the next record of the daemon's history.
func (d *Daemon) NextIndex() uint64 { return d.index }

// LastTicket is answered once all that the daemon has recorded is durable.
func (d *Daemon) LastTicket() *pending.Ticket { return d.last }

// Generation is the store's that all of the daemon follows from.
func (d *Daemon) Generation() uint64 { return d.generation }

// LastUsed is when the daemon was entered last, Unix nanoseconds by the runtime's clock.
func (d *Daemon) LastUsed() int64 { return d.used }

// Effects is what the daemon has sent and what timers it has; nil: nothing, and none.
func (d *Daemon) Effects() *effect.State { return d.effects }

// Ledger is what the daemon is subscribed to.
func (d *Daemon) Ledger() *channel.Ledger { return &d.ledger }

// Leader is the log that a cluster's daemon writes to; nil: it is no cluster's. It needs no
// lock.
func (d *Daemon) Leader() Log { return d.leader }

// SetLeader makes the daemon a cluster's, before it is in the tables or under its lock.
func (d *Daemon) SetLeader(l Log) { d.leader = l }

// Log are the daemon's last lines. It needs no lock.
func (d *Daemon) Log() *textlog.Log { return &d.log }

// Meter is where the daemon's kind is counted. It needs no lock.
func (d *Daemon) Meter() *tally.Kind { return d.meter }

// IsUnread reports whether the daemon is yet to be read. It needs no lock.
func (d *Daemon) IsUnread() bool { return d.unread.Load() }

// Waiting is how many senders are at the lock or behind a pause. It needs no lock.
func (d *Daemon) Waiting() int64 { return d.waiting.Load() }

// BeginMove has the daemon's state watched or replaced by nobody but the caller, until
// EndMove; false: somebody does already. It needs no lock.
func (d *Daemon) BeginMove() bool { return d.moving.CompareAndSwap(false, true) }

// EndMove ends what BeginMove began. It needs no lock.
func (d *Daemon) EndMove() { d.moving.Store(false) }

// IsMoving reports whether BeginMove was called, and EndMove not yet. It needs no lock.
func (d *Daemon) IsMoving() bool { return d.moving.Load() }

// Share is the daemon's part in the work that the node begins by itself. It needs no lock.
func (d *Daemon) Share() *fair.Flow { return d.share }

// Pacer spaces the daemon's events. It needs no lock.
func (d *Daemon) Pacer() *moving.Pacer { return &d.pacer }

// Tail are the records that the daemon makes while it moves; nil: nobody collects them.
func (d *Daemon) Tail() *moving.Tail { return d.tail }

// beginTail has the daemon's records collected from now on.
func (d *Daemon) beginTail() {
	d.tail = moving.NewTail(d.index, d.Limits().TailBytes, d.env.Store != nil)
}

// EndTail ends what beginTail began.
func (d *Daemon) EndTail() { d.tail = nil }

// Identify gives a daemon that is in no table yet its name and key, which becomes the
// daemon's.
func (d *Daemon) Identify(name string, key *identity.KeyPair) { d.name, d.key = name, key }

// SetKey gives the daemon its key, which becomes the daemon's.
func (d *Daemon) SetKey(key *identity.KeyPair) { d.key = key }

// Rename gives a daemon that is in no table the name.
func (d *Daemon) Rename(name string) { d.name = name }

// SetEpoch makes what follows of the epoch.
func (d *Daemon) SetEpoch(epoch uint64) { d.epoch = epoch }

// RaiseEpoch makes what follows of an epoch that is not lower.
func (d *Daemon) RaiseEpoch(least uint64) { d.epoch = max(d.epoch, least) }

// GoOn notes a fact that has become durable as the daemon's next record: what follows is of
// its epoch.
func (d *Daemon) GoOn(epoch uint64) {
	d.index++
	d.epoch = epoch
}

// HasCome notes the checkpoint by which the daemon came here, durable as the next record
// where recorded says so.
func (d *Daemon) HasCome(epoch uint64, by *chain.Checkpoint, recorded bool) {
	if recorded {
		d.index++
	}
	d.epoch, d.came = epoch, by
}

// HistoryFrom says which records of the daemon's history there are, and that its stored
// state stands behind them.
func (d *Daemon) HistoryFrom(first, next uint64) {
	d.firstIndex, d.index, d.snapshotIndex = first, next, next
}

// Adopt has replay take records as they are, or not: what they changed comes otherwise.
func (d *Daemon) Adopt(on bool) { d.adopting = on }

// SetTime says of when the last event was.
func (d *Daemon) SetTime(at int64) { d.lastTime = at }

// SetPrevious says which module the daemon can be rolled back to.
func (d *Daemon) SetPrevious(module []byte) { d.previous = module }

// CountErrors has the daemon count at least so many errors.
func (d *Daemon) CountErrors(least uint64) { d.stats.errors = max(d.stats.errors, least) }

// ErrorCount is on how many events the daemon has failed.
func (d *Daemon) ErrorCount() uint64 { return d.stats.errors }

// ForEvents gives a daemon that is made afresh its configuration and, where the caller made
// it, its code. fresh says that its identity was made with it.
func (d *Daemon) ForEvents(config []byte, code daemon.Daemon, fresh bool) {
	d.config, d.daemon, d.fresh = config, code, fresh
}

// LeaveUnread takes the daemon's lock for whoever reads it, and shows it as its history
// ends. It is done once, before the daemon serves.
func (d *Daemon) LeaveUnread(stands *stored.Passive) {
	d.mu.Lock()
	lock.HandOver(&d.mu)
	d.unread.Store(true)

	d.view.mu.Lock()
	defer d.view.mu.Unlock()
	s := &d.view.at
	s.state, s.epoch, s.sequence, s.hash = lifecycle.Passive, stands.Epoch, stands.Sequence, stands.HeadHash
	s.stats = stats{processed: stands.Applied, emitted: stands.Emitted}
	d.view.made = true
}

// LostOfSent notes in the daemon's log, and in its count of lost events, that n of what it
// sent were passed over. It needs no lock.
func (d *Daemon) LostOfSent(n int, to fmt.Stringer, why error) {
	d.lost.sent.Add(uint64(n))
	d.log.Add(2, fmt.Sprintf("of what it sent to %s: %v", to, why))
}

// Usage is what the daemon has used, as it was last shown. It needs no lock.
func (d *Daemon) Usage() daemon.Usage {
	state, _, _ := d.Shown()
	w := &d.work
	timers, daemons := w.events[daemon.EventTimer].Load(), w.events[daemon.EventDaemon].Load()
	channels := w.events[daemon.EventChannel].Load() + w.events[daemon.EventGap].Load()
	for k := daemon.EventAsk; int(k) < daemon.EventKinds; k++ {
		daemons += w.events[k].Load()
	}
	direct := d.processed() - timers - daemons - channels
	return daemon.Usage{Entity: d.id, Name: d.name, Kind: d.kind, State: state,
		Time: time.Duration(w.time.Load()) + d.share.Used().Time, Bytes: w.bytes.Load(),
		Direct: direct, Timers: timers, Daemons: daemons, Channels: channels,
		Waiting: int(d.waiting.Load()), Turns: d.share.Waiting()}
}

// Bare makes a daemon that is in no table and has no code: who it is, and its key, which
// becomes the daemon's.
func Bare(node *Config, id identity.EntityID, key *identity.KeyPair) *Daemon {
	return &Daemon{node: node, env: node.Env, id: id, key: key}
}
