package host

import (
	"context"
	"runtime"
	"slices"
	"sync"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A node with many daemons is ready before it has read them all. Those that are unread
// are in the table, and recovery holds their locks: to everybody else they are busy, and
// they are shown as their histories end. They are read one after the other, those first
// that somebody waits for. In a cluster nothing is done for an unread daemon: it is held
// against the directory, and compared with its standbys, once it is read.

// eagerMost is how many daemons are read before the node is ready. A node with more
// finds what is wrong with the others later.
const eagerMost = 1024

// endRecords is how far back the end of a history is looked for that says where its
// daemon stands.
const endRecords = 8

// reading is what is left to be read.
type reading struct {
	mu     lock.Mutex[lock.Leaf]
	rest   []*hosted // in order; some have been read meanwhile
	wanted []*hosted // before those
}

// want has a daemon read next that somebody waits for.
func (d *hosted) want() {
	if !d.unread.Load() {
		return
	}
	g := d.node.Unread
	g.mu.Lock()
	defer g.mu.Unlock()
	if !d.wanted {
		d.wanted = true
		g.wanted = append(g.wanted, d)
	}
}

// add has a daemon read after all others. Nobody asks yet.
func (g *reading) add(d *hosted) { g.rest = append(g.rest, d) }

// queue returns the daemons that are still to be read, in order: those that somebody waits
// for, and the rest. Some have been read meanwhile.
func (g *reading) queue() (wanted, rest []*hosted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.wanted), slices.Clone(g.rest)
}

// next returns the daemon to be read now, which is the caller's; nil: there is none.
func (g *reading) next() *hosted {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, list := range []*[]*hosted{&g.wanted, &g.rest} {
		for len(*list) > 0 {
			d := (*list)[0]
			(*list)[0], *list = nil, (*list)[1:]
			if d.unread.CompareAndSwap(true, false) {
				return d
			}
		}
	}
	return nil
}

// putOff leaves daemons unread that can be, and returns the others.
func (r *Runtime) putOff(active []*hosted) (now []*hosted, err error) {
	if len(active) <= r.eager {
		return active, nil
	}
	released := make(map[identity.EntityID]bool)
	err = r.env.Store.Scan(store.Outgoing, func(k, _ []byte) error {
		var id identity.EntityID
		copy(id[:], k)
		released[id] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	stands := make([]*passiveRecord, len(active))
	var work sync.WaitGroup
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		work.Go(func() {
			for i := r.eager + part; i < len(active); i += parts {
				if !released[active[i].Entity()] {
					stands[i] = endOf(r.env.Store, active[i].Entity())
				}
			}
		})
	}
	work.Wait()
	for i, d := range active {
		if stands[i] == nil {
			now = append(now, d)
			continue
		}
		d.leaveUnread(stands[i])
		r.reading.add(d)
	}
	return now, nil
}

// endOf returns where a daemon stands by the end of its history; nil where the last few
// records do not say.
func endOf(st *store.Store, id identity.EntityID) (out *passiveRecord) {
	looked := 0
	err := st.ReadHistoryBackward(id, func(_ uint64, b []byte) error {
		if looked++; looked > endRecords {
			return store.ErrStop
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		switch rec := rec.(type) {
		case *journal.Event:
			c := chain.At(rec.Before, rec.Parent)
			for _, o := range rec.Outputs {
				c.Append(rec.Epoch, rec.Applied, o)
			}
			out = &passiveRecord{Epoch: rec.Epoch, Sequence: c.Sequence(), HeadHash: c.HeadHash(), Applied: rec.Applied, Emitted: c.Sequence()}
			return store.ErrStop
		case *journal.Begin:
			c := chain.New(rec.Head, rec.HeadPayload)
			out = &passiveRecord{Epoch: rec.Epoch, Sequence: rec.Head.Sequence, HeadHash: c.HeadHash(), Applied: rec.Applied, Emitted: rec.Head.Sequence}
			return store.ErrStop
		case *journal.Checkpoint, *journal.Failure:
			return nil
		default:
			return store.ErrStop
		}
	})
	if err != nil {
		return nil // who reads the whole says what is wrong
	}
	return out
}

// readRest reads the unread daemons, until there are none or the runtime ends. It returns
// at once.
func (r *Runtime) readRest() {
	for range max(1, runtime.GOMAXPROCS(0)/2) { // the rest of the machine serves
		r.env.Work.Go(func() {
			for d := r.reading.next(); d != nil; d = r.reading.next() {
				r.read(r.env.Context, d)
			}
		})
	}
}

// read reads an unread daemon, whose lock it gives back.
func (r *Runtime) read(ctx context.Context, d *hosted) {
	if ctx.Err() != nil {
		d.end(lifecycle.Leave, daemon.ErrShuttingDown)
		d.Unlock()
		return
	}
	d.revive(ctx)
	r.progress.done.Add(1)
	serves := d.State() == lifecycle.Running
	if serves {
		d.startEffects()
	}
	list := d.Ledger().All()
	d.Unlock()
	r.cluster.wasRead(d)
	if serves {
		r.subscriber.Start(d.Entity(), list)
	}
	if r.idle.limit > 0 && r.idle.bytes.Load() > r.idle.limit {
		d.passivate()
	}
}

// dropUnread gives up what a runtime that did not start has not read.
func (r *Runtime) dropUnread() {
	for d := r.reading.next(); d != nil; d = r.reading.next() {
		d.end(lifecycle.Leave, daemon.ErrShuttingDown)
		d.Unlock()
	}
}
