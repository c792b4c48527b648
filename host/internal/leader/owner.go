package leader

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// What a node does with its daemons goes through the directory first.

// Claimed is the end of a spawn: the directory names this node the owner by e, and the
// daemon serves.
func (l *Leader) Claimed(e directory.Entry) {
	l.mu.Lock()
	l.unsure = false
	l.mu.Unlock()
	l.Verified(e, l.group.session())
}

// Disown takes the daemon out of the directory, before it is stopped here. The removal
// is signed by the daemon's key: other nodes drop their copies by it. It needs the daemon's
// lock.
func (l *Leader) Disown(ctx context.Context, key *identity.KeyPair) error {
	if err := l.settle(ctx); err != nil {
		return fmt.Errorf("stopping daemon %s: %w", l.daemon.Entity().Origin(), err)
	}
	if err := l.claimTurn(ctx); err != nil {
		return fmt.Errorf("stopping daemon %s: %w", l.daemon.Entity().Origin(), err)
	}
	defer l.endTurn()
	l.mu.Lock()
	e, known := l.entry, l.session != 0 && l.session == l.group.session()
	l.mu.Unlock()
	if !known {
		return fmt.Errorf("stopping daemon %s: %w", l.daemon.Entity().Origin(), daemon.ErrHolding)
	}
	removal := directory.Removal{Entity: e.Entity, Epoch: e.Epoch, Time: l.group.env.Clock()}
	err := removal.Sign(key)
	if err == nil {
		err = l.group.directory.Retire(ctx, e, removal)
	}
	if err == nil {
		return nil
	}
	l.mu.Lock()
	l.session, l.unsure = 0, true
	l.mu.Unlock()
	return fmt.Errorf("stopping daemon %s: %w", l.daemon.Entity().Origin(), err)
}

// Spare has the node be no standby of the daemon, which is to move there, until Stay. Where
// the daemon was not compared with its standbys yet, it waits a while for that.
func (l *Leader) Spare(ctx context.Context, target identity.NodeID) error {
	if err := l.awaitCompared(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.spares = target
	l.mu.Unlock()

	if err := l.settle(ctx); err != nil {
		return err
	}
	return l.part(ctx, target, "the daemon is to move there")
}

// Stay is the end of a move that came to nothing.
func (l *Leader) Stay() {
	l.mu.Lock()
	l.spares = 0
	l.mu.Unlock()
	l.Wake()
}

// HandOver writes to the directory, which has the entry now, what the daemon is once it has
// moved. What became of that is read there.
func (l *Leader) HandOver(ctx context.Context, now directory.Entry, to directory.Daemon) error {
	if err := l.claimTurn(ctx); err != nil {
		return err
	}
	defer l.endTurn()
	_, err := l.group.directory.Put(ctx, now, to)
	return err
}

// Restart has the daemon not serve until it is verified again, and the standbys begin anew:
// the history was written to beside them. It needs the daemon's lock.
func (l *Leader) Restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = 0
	for _, f := range l.follows {
		f.cut()
	}
}
