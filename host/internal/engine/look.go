package engine

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
)

// Look takes the lock for a caller that asks of the daemon what is no event. It waits
// while the daemon is paused, as enter does, but takes no place in the mailbox.
// ErrManyReaders where MaxReaders wait. The caller unlocks.
func (d *Daemon) Look(ctx context.Context) error {
	if err := d.readerPlace(); err != nil {
		return err
	}
	return d.lookPlaced(ctx)
}

// lookPlaced is look for a caller that has a reader's place, and gives it back.
func (d *Daemon) lookPlaced(ctx context.Context) error {
	kept := false // an abandoned wait for the lock keeps the place until it ends
	err := d.inside(ctx, func(ctx context.Context) error {
		left, err := d.lockOrLeave(ctx, d.leavePlace)
		kept = left
		return err
	})
	if !kept {
		d.leavePlace()
	}
	return err
}

// Peek takes the lock for a reader as the daemon is: paused, passive or gone. The
// caller unlocks.
func (d *Daemon) Peek(ctx context.Context) error {
	if err := d.readerPlace(); err != nil {
		return err
	}
	left, err := d.lockOrLeave(ctx, d.leavePlace)
	if !left {
		d.leavePlace()
	}
	return err
}

// Attend takes the lock for the runtime's own book-keeping about the daemon. Its
// callers are bounded by themselves: one courier a place, one subscription at a time.
func (d *Daemon) Attend(ctx context.Context) error {
	return d.inside(ctx, func(context.Context) error {
		d.mu.Lock()
		return nil
	})
}

func (d *Daemon) readerPlace() error {
	if d.readers.Add(1) > daemon.MaxReaders {
		d.readers.Add(-1)
		return fmt.Errorf("%w: %d wait for daemon %s", daemon.ErrManyReaders, daemon.MaxReaders, d.id.Origin())
	}
	return nil
}

func (d *Daemon) leavePlace() { d.readers.Add(-1) }

// lockOrLeave takes d.mu, or returns an error where ctx ends first. A goroutine then
// still waits for the lock: left is true, and ended is called when it no longer does.
func (d *Daemon) lockOrLeave(ctx context.Context, ended func()) (left bool, err error) {
	if d.mu.TryLock() {
		return false, nil
	}
	d.want()
	if ctx.Done() == nil {
		d.mu.Lock()
		return false, nil
	}
	got := make(chan struct{})
	go func() {
		d.mu.Lock()
		select {
		case got <- struct{}{}:
		case <-ctx.Done():
			d.mu.Unlock()
			ended()
		}
	}()
	select {
	case <-got:
		return false, nil
	case <-ctx.Done():
		return true, fmt.Errorf("waiting for the event that daemon %s processes: %w", d.id.Origin(), context.Cause(ctx))
	}
}

// WhileHere returns err, or where the daemon went, if it left while its stored history was
// read: the node deletes the history of a daemon that leaves.
func (d *Daemon) WhileHere(err error) error {
	if err == nil {
		return nil
	}
	if moved := d.view.Moved(); moved != nil {
		return moved
	}
	return err
}

// CannotGoOn reports whether the daemon is failed or diverged, as it was last shown:
// the caller does not wait for a busy daemon.
func (d *Daemon) CannotGoOn() bool {
	return d.view.Broken()
}
