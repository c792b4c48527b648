package standbys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// errLost ends a stream of a copy that is fenced.
var errLost = errors.New("another node took the daemon over")

// Receive takes what the owner, who may feed the copy, sends after f, until the stream ends.
// A *Refusal is to be sent to the owner.
func (g *Set) Receive(ctx context.Context, from identity.NodeID, s *Standby, conn standby.Conn, f *standby.Follow) error {
	s.mu.Lock()
	if s.cut != nil {
		s.cut() // an earlier stream, that is dead
	}
	s.mu.Unlock()
	select {
	case s.receiving <- struct{}{}:
	case <-g.env.Context.Done():
		return context.Cause(g.env.Context)
	}
	defer func() { <-s.receiving }()
	s.mu.Lock()
	if s.fenced || f.Epoch < s.epoch {
		defer s.mu.Unlock()
		return &Refusal{s.epoch, fmt.Sprintf("node %s owns the daemon, or is about to", s.owner)}
	}
	if f.Epoch > s.epoch {
		s.owner, s.epoch = from, f.Epoch
	}
	s.module, s.disk = canon.OrNil(f.Module), f.Disk
	s.cut = conn.Abort
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.cut = nil
		s.mu.Unlock()
	}()
	in := &receiving{set: g, s: s, from: from, conn: conn, disk: f.Disk, version: f.Version}
	if err := in.begin(ctx, f); err != nil {
		return err
	}
	defer in.discard()
	err := in.take(ctx)
	// What is on its way to the disk is waited for: who takes over reads it there.
	// Nobody sends on the stream after that.
	err = errors.Join(err, g.env.Store.Commit(&store.Batch{}))
	in.holding.Wait()
	return err
}

// receiving is one stream.
type receiving struct {
	set     *Set
	s       *Standby
	from    identity.NodeID
	conn    standby.Conn
	disk    bool
	wasm    []byte
	version uint8
	earlier arrivingModule // the module before the last upgrade, which the owner was asked for

	files map[store.Digest]*arrivingFile // that came, or come, and no batch has taken

	proof *reach.Extent // how far the owner has proven that its history goes; nil: it has not

	owes uint64 // the last batch that is held and was not said to be; 0: none

	sending sync.Mutex     // of Held, from here or once the disk has it
	holding sync.WaitGroup // of those that send it then
	said    uint64         // the last that was sent
}

func (in *receiving) begin(ctx context.Context, f *standby.Follow) error {
	have := &standby.Have{Sum: []byte{}}
	err := in.set.env.Store.ReadHistoryBackward(in.s.id, func(index uint64, rec []byte) error {
		sum := sha256.Sum256(rec)
		have.Next, have.Sum = index+1, sum[:]
		return store.ErrStop
	})
	if err != nil {
		return err
	}
	if len(f.Module) == 32 {
		err := in.set.node.FindModule(ctx, store.Digest(f.Module)) // compiled, for the day it is needed
		have.NeedModule = errors.Is(err, daemon.ErrModuleNotFound)
		if have.NeedModule && in.set.node.RefusesModules() {
			return &Refusal{0, fmt.Sprintf("node %s does not have module %x and takes none from peers", in.set.env.Self, f.Module)}
		}
		if err != nil && !have.NeedModule {
			return err
		}
	}
	if f.Version < standby.Keeping {
		return standby.SendNow(in.conn, have)
	}
	if err := in.conn.Send(have); err != nil {
		return err
	}
	return in.sayState()
}

func (in *receiving) take(ctx context.Context) error {
	for {
		if in.owes > 0 && !in.conn.More() { // one answer for all that came together
			if err := in.hold(in.owes); err != nil {
				return err
			}
			in.owes = 0
		}
		msg, err := in.conn.Recv()
		if err != nil {
			return err
		}
		in.s.mu.Lock()
		fenced := in.s.fenced
		in.s.mu.Unlock()
		if fenced {
			return errLost
		}
		switch msg := msg.(type) {
		case *standby.Module:
			err = in.takeModule(ctx, msg)
		case *standby.Proof:
			err = in.takeProof(msg)
		case *standby.Reset:
			err = in.reset()
		case *standby.Record:
			err = in.takeRecord(msg)
		case *standby.File:
			err = in.takeFile(msg)
		case *standby.Batch:
			err = in.takeBatch(msg)
		case *standby.Facts:
			err = in.takeLasting(ctx, msg)
		case *standby.Earlier:
			err = in.takeEarlier(ctx, msg)
		default:
			err = fmt.Errorf("%w: a %T", standby.ErrBadMessage, msg)
		}
		if err != nil {
			return err
		}
	}
}

// Refusal is why this node does not stand by.
type Refusal struct {
	Epoch uint64 // of the owner, as far as this node knows; 0: it does not
	Text  string
}

// Error implements error.
func (e *Refusal) Error() string { return e.Text }
