package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost/host/internal/lifecycle"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/wire/canon"
)

// Mend says how a daemon that cannot go on is to be brought back. What it costs
// is never chosen silently: it is a fact of the daemon's chain, signed, under a
// higher epoch.
type Mend uint8

// The ways.
const (
	// MendRetry reads the daemon from disk again, as a restart would. Nothing is
	// given up.
	MendRetry Mend = 0

	// MendSkip lets the recorded outputs stand where a replay gives others, and
	// takes the state that the replay gives: nothing acknowledged is lost, but
	// the state is not what it was.
	MendSkip Mend = 1

	// MendRollback goes back to the last stored state and drops all that came
	// after it, acknowledged outputs included.
	MendRollback Mend = 2
)

// More ways of Mend, which ResolveMigration takes.
const (
	// MendTakeBack makes the source of a release serve the daemon again: the
	// target is gone.
	MendTakeBack Mend = 3

	// MendClaim makes the target of a migration serve the daemon that it holds:
	// the source is gone. The daemon's key went with it, unless it was given.
	MendClaim Mend = 4

	// MendDrop makes the target let go of the daemon that it holds. No fact is
	// left, for no chain goes on here.
	MendDrop Mend = 5
)

// MendFailover is the way by which a standby serves a daemon whose owner is gone.
// The directory named it; nothing acknowledged is given up.
const MendFailover Mend = 6

// MendConfirm is the way by which an operator lets a held copy go on: what another copy
// had beyond it is given up.
const MendConfirm Mend = 7

// MendRecovery is the way by which a daemon goes on after its cluster has lost its
// directory: an operator had the longest copy chosen that could be proven. What the
// daemon acknowledged beyond that copy is given up.
const MendRecovery Mend = 8

var mendNames = [...]string{"retry", "skip", "rollback", "take-back", "claim", "drop", "failover", "confirm", "recovery"}

// Mends returns all ways.
func Mends() []Mend {
	all := make([]Mend, len(mendNames))
	for i := range all {
		all[i] = Mend(i)
	}
	return all
}

// String returns the way's name.
func (m Mend) String() string {
	if int(m) < len(mendNames) {
		return mendNames[m]
	}
	return fmt.Sprintf("mend %d", uint8(m))
}

// ErrNotFailed says that a daemon needs no mending.
var ErrNotFailed = errors.New("the daemon is neither failed nor diverged")

// Mended is one mending of a daemon that its chain proves.
type Mended struct {
	_        struct{} `cbor:",toarray"`
	How      Mend
	Count    uint64 // MendSkip: events whose outputs differed; MendRollback: history records that were dropped
	Sequence uint64 // MendRollback: of the last output that was dropped, where that can be read
	Head     Hash   // its hash
	After    uint64 // sequence of the last output before the mending
	Epoch    uint64 // from here on
}

// mendRecord is a mending in the history. What follows is of its epoch.
type mendRecord struct {
	_          struct{} `cbor:",toarray"`
	Fact       Mended
	Time       int64
	Checkpoint Checkpoint // PurposeMend; State is the fact's hash
}

func (m *Mended) encode() ([]byte, error) { return canon.Marshal(m) }

func (m *Mended) sum() ([]byte, error) {
	b, err := m.encode()
	sum := sha256.Sum256(b)
	return sum[:], err
}

// MendDaemon brings a failed or diverged daemon back. Where that does not work
// the daemon stays as it was, and the error says why. Errors: *NotFoundError,
// *MovedError, ErrNotFailed, and those of reading the daemon.
func (r *Runtime) MendDaemon(ctx context.Context, id identity.EntityID, how Mend) (Mended, error) {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return Mended{}, err
	}
	old, err := r.find(id)
	if err != nil {
		return Mended{}, err
	}
	if !old.moving.CompareAndSwap(false, true) {
		return Mended{}, fmt.Errorf("%w: %s", ErrAlreadyMigrating, id.Origin())
	}
	defer old.moving.Store(false)
	old.mu.Lock()
	defer old.mu.Unlock()
	if r.store == nil || !old.life.State().Broken() {
		return Mended{}, fmt.Errorf("%w: %s", ErrNotFailed, id.Origin())
	}
	encoded, err := r.store.Get(store.Daemons, id[:])
	if err != nil {
		return Mended{}, err
	}
	d := r.known(id, encoded)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Migrating {
		return Mended{}, d.gone
	}
	d.stats.errors = old.stats.errors
	fact, err := d.mend(ctx, how)
	if err != nil {
		d.end(lifecycle.Leave, err)
		return Mended{}, fmt.Errorf("mending daemon %s by %s: %w", id.Origin(), how, err)
	}
	if old.replica != nil {
		old.replica.end(fmt.Errorf("%w: it was mended", ErrNotReady))
		r.cluster.attach(d)
		d.replica.compared = false
		defer r.cluster.lookSoon()
	}
	r.mu.Lock()
	r.daemons[id], r.names[d.name] = d, id
	r.mu.Unlock()
	d.meter.cameBack(how.String(), lifecycle.Running)
	d.tellOf(WasMended, how.String())
	d.resume()
	r.subs.start(d.id, d.ledger.All())
	r.startEffects(d)
	r.grown(d)
	r.logger.Warn("a daemon was mended", "daemon", id.Origin(), "how", how, "count", fact.Count, "epoch", fact.Epoch)
	return fact, nil
}

// mend needs d.mu.
func (d *hosted) mend(ctx context.Context, how Mend) (Mended, error) {
	d.mending = &mending{how: how}
	defer func() { d.mending = nil }()
	if err := d.rebuild(ctx); err != nil {
		return Mended{}, err
	}
	fact := Mended{How: how, After: d.chain.Head().Sequence, Epoch: d.epoch + 1}
	b := &store.Batch{Generation: d.under}
	switch how {
	case MendRetry:
		fact.Epoch = d.epoch
		return fact, nil
	case MendSkip:
		fact.Count = d.mending.differed
	case MendRollback:
		d.dropped(&fact)
		b.DeleteHistoryFrom(d.id, d.index)
	default:
		return Mended{}, fmt.Errorf("%w: %s", ErrNotSupported, how)
	}
	if err := d.appendFact(b, &fact); err != nil {
		return Mended{}, err
	}
	d.index++
	d.epoch = fact.Epoch
	if how == MendSkip { // a replay of the history would differ again
		d.saved.goes = false // the whole state, once
		if err := d.putState(b); err != nil {
			return Mended{}, err
		}
	}
	return fact, d.rt.store.Commit(b)
}

// mending is what a rebuild for mending does otherwise.
type mending struct {
	how      Mend
	differed uint64
}

// dropped says in fact what is in the history from the daemon's index on.
func (d *hosted) dropped(fact *Mended) {
	end, err := d.rt.store.HistoryEnd(d.id)
	if err != nil { // what is damaged is dropped without being counted
		d.rt.logger.Warn("counting what is dropped", "daemon", d.id.Origin(), "error", err)
		return
	}
	fact.Count = end - min(end, d.index)
	// What is dropped may be of higher epochs, and is known elsewhere: what
	// follows must not be taken for it.
	err = d.rt.store.ReadHistory(d.id, d.index, end, func(_ uint64, b []byte) error {
		rec, err := decodeRecord(b)
		if err != nil {
			return nil // what is damaged says nothing of epochs
		}
		switch rec := rec.(type) {
		case *eventRecord:
			fact.Epoch = max(fact.Epoch, rec.Epoch+1)
		case *moveRecord:
			fact.Epoch = max(fact.Epoch, rec.Epoch+1)
		case *mendRecord:
			fact.Epoch = max(fact.Epoch, rec.Fact.Epoch+1)
		}
		return nil
	})
	if err != nil {
		d.rt.logger.Warn("reading the epochs of what is dropped", "daemon", d.id.Origin(), "error", err)
	}
	err = d.rt.store.ReadHistoryBackward(d.id, func(index uint64, b []byte) error {
		if index < d.index {
			return store.ErrStop
		}
		rec, err := decodeRecord(b)
		e, ok := rec.(*eventRecord)
		if err != nil || !ok || len(e.Outputs) == 0 {
			return nil
		}
		links := e.links()
		last := links[len(links)-1]
		fact.Sequence, fact.Head = last.Link.Sequence, last.Link.Hash(last.Payload)
		return store.ErrStop
	})
	if err != nil {
		d.rt.logger.Warn("reading what is dropped", "daemon", d.id.Origin(), "error", err)
	}
}

// replayMend applies a mending of the history.
func (d *hosted) replayMend(rec *mendRecord) error {
	if rec.Fact.Epoch <= d.epoch || rec.Fact.After != d.chain.Head().Sequence || rec.Checkpoint.Head != d.chain.HeadHash() {
		return fmt.Errorf("%w: a mending to epoch %d after output %d is not of this chain", ErrDiverged, rec.Fact.Epoch, rec.Fact.After)
	}
	d.epoch = rec.Fact.Epoch
	return nil
}

// mended checks a mending of a chain file.
func (v *chainVerifier) mended(i *chainItem) (*Mended, error) {
	c := &i.Checks[0]
	if err := v.signed(c, PurposeMend); err != nil {
		return nil, err
	}
	m := &Mended{}
	if err := canon.Unmarshal(i.Payload, m); err != nil {
		return nil, fmt.Errorf("%w: a mending: %w", ErrBadChainFile, err)
	}
	sum, err := m.sum()
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(c.State, sum) || c.Epoch != m.Epoch || m.After != v.head.Sequence:
		return nil, fmt.Errorf("%w: the mending is not the one that was signed", identity.ErrInvalidSignature)
	case m.Epoch <= v.next:
		return nil, fmt.Errorf("%w: a mending to epoch %d after %d", ErrEpochBackwards, m.Epoch, v.next)
	}
	v.next, v.report.Epoch = m.Epoch, m.Epoch
	v.report.Mended = append(v.report.Mended, *m)
	return m, nil
}
