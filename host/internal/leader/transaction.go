package leader

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/directory"
)

// A transaction about a daemon whose answer is lost may or may not have happened, and may
// still happen. Nothing is acknowledged until that is known.

// claimTurn waits until no other transaction about the daemon is under way; endTurn lets
// the next begin.
func (l *Leader) claimTurn(ctx context.Context) error {
	select {
	case l.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Leader) endTurn() { <-l.changing }

// change makes a transaction about the daemon. Where what became of it is not
// known, nothing is answered until settle knows.
func (l *Leader) change(ctx context.Context, to func(directory.Entry) (directory.Daemon, bool)) error {
	if err := l.claimTurn(ctx); err != nil {
		return err
	}
	defer l.endTurn()
	l.mu.Lock()
	old, unsure := l.entry, l.unsure
	l.mu.Unlock()
	if unsure {
		return errUnsure
	}
	d, any := to(old)
	if !any {
		return nil
	}
	e, err := l.group.directory.Put(ctx, old, d)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.entry = e
		return nil
	}
	l.session, l.unsure = 0, true
	return err
}

var (
	errUnsure = errors.New("what became of an earlier transaction is not known yet")
	errLost   = errors.New("another node took the daemon over")
)

// settle finds what became of a transaction. It writes what it read: where that
// succeeds, nothing that was on its way can still arrive.
func (l *Leader) settle(ctx context.Context) error {
	if err := l.claimTurn(ctx); err != nil {
		return err
	}
	defer l.endTurn()
	l.mu.Lock()
	unsure := l.unsure && l.over == nil
	l.mu.Unlock()
	if !unsure {
		return nil
	}
	session := l.group.session()
	now, err := l.group.directory.Read(ctx, l.daemon.Entity())
	if errors.Is(err, directory.ErrNotListed) { // it was to be stopped: it is made known again
		l.mu.Lock()
		l.unsure, l.session, l.joins = false, 0, 0
		l.mu.Unlock()
	}
	if err != nil {
		return err
	}
	if now.Owner != l.group.env.Self {
		l.group.node.Lost(now, session)
		l.mu.Lock()
		l.unsure, l.session, l.joins = false, 0, 0 // the news, if it is this node's again, says the rest
		l.mu.Unlock()
		return fmt.Errorf("%w: node %s, epoch %d", errLost, now.Owner, now.Epoch)
	}
	e, err := l.group.directory.Put(ctx, now, now.Daemon)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.unsure, l.joins, l.entry = false, 0, e
	if l.group.session() == session {
		l.session = session
	}
	l.mu.Unlock()
	l.Advance()
	return nil
}
