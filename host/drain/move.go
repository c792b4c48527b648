package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// move moves one daemon, to one target after another until one takes it. It
// reports whether the daemon is gone from here.
func (d *Drain) move(ctx context.Context, i daemon.Info) bool {
	r := Result{Entity: i.Entity, Name: i.Name}
	req := placement.Requirements{Memory: i.MemoryBytes}
	tried := make(map[identity.NodeID]error)
	keyless := false // the daemon's key is not here, so that nothing is given up by not sending it

	for ctx.Err() == nil {
		to, err := d.targets.pick(ctx, req, tried)
		if err != nil {
			r.Err = err
			d.keep(r, len(tried) > 0 || d.targets.avoids())
			return false
		}

		r.To, r.Attempts = to, r.Attempts+1
		rep, started, err := d.attempt(ctx, i, to, keyless)
		if err == nil {
			r.Report, r.Err = rep, nil
			d.final(r)
			return true
		}

		r.Err = err
		if errors.Is(err, errReleased) {
			return false // it is the target's, once that says so
		}

		switch next := afterwards(err, started); {
		case next == nothing:
			r.Left, r.Err = true, nil
			d.final(r)
			return true

		case next == never:
			d.final(r)
			return false
		case ctx.Err() != nil: // that is why
		case next == later:
			d.keep(r, true)
			return false
		case next == withoutKey && !keyless:
			keyless, r.Attempts = true, r.Attempts-1
		case next == elsewhere:
			d.targets.avoid(to)
			fallthrough
		default:
			tried[to] = err
		}
	}

	r.Err = why(ctx)
	d.keep(r, false)
	return false
}

// why says why ctx ended.
func why(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return ErrDeadline
}

// What follows from an attempt that failed.
type next int

const (
	another    next = iota // another target
	elsewhere              // another target; the next daemons too
	withoutKey             // the same target, without the daemon's key
	later                  // the same in another pass
	never                  // the daemon cannot move
	nothing                // it is gone already
)

// afterwards says what follows from err. started says that a migration began at
// all.
func afterwards(err error, started bool) next {
	var moved *daemon.MovedError
	var e *migration.Error
	switch {
	case errors.As(err, &moved):
		return nothing
	case !errors.As(err, &e):
		return later
	}

	switch e.Code {
	case migration.DaemonNotFound:
		return nothing
	case migration.NotPortable:
		return never
	case migration.IdentityTransportFailed:
		if !started {
			return withoutKey
		}

	case migration.StoreFailed:
		if !started {
			return later // this node's disk
		}
		return elsewhere // if it was this node's, the daemon has failed, and does not start

	case migration.StateFailed:
		if !started {
			return later // what it fails of is seen when it is looked at again
		}

	case migration.AlreadyMigrating, migration.Cancelled, migration.BufferFull:
		return later
	case migration.TargetUnavailable, migration.NotReady, migration.NotReadyTimeout, migration.Draining, migration.ComputeNotSupported, migration.Denied:
		return elsewhere
	}

	return another
}

// errReleased says that the daemon was released to a target that does not
// confirm it.
var errReleased = errors.New("released, and not confirmed")

// attempt moves the daemon to one target. When ctx ends the attempt ends too,
// unless the daemon is released. started says that the migration began.
func (d *Drain) attempt(ctx context.Context, i daemon.Info, to identity.NodeID, keyless bool) (rep host.Report, started bool, err error) {
	m, err := d.rt.StartMigrationWith(ctx, i.Entity, to, host.MigrationOptions{PublicOnly: keyless, RetryNotReady: notReady})
	if err != nil {
		return rep, false, err
	}

	var waited <-chan time.Time
	following, unfollow := context.WithCancel(context.Background())
	defer unfollow()
	phases, cancelled, ended := m.Phases(following), ctx.Done(), false

	for {
		select {
		case <-m.Done():
			rep, err := m.Wait(context.Background())
			return rep, true, err
		case p, ok := <-phases:
			if !ok {
				phases = nil
				continue
			}
			if p.Phase != migration.Cutover {
				continue
			}

			timer := time.NewTimer(patience)
			defer timer.Stop()
			waited = timer.C
			if ended {
				return rep, true, d.release(i, m)
			}

		case <-cancelled:
			cancelled, ended = nil, true
			m.Cancel()
			if waited != nil {
				return rep, true, d.release(i, m)
			}

		case <-waited:
			d.options.Logger.Warn("a target does not confirm that it has a daemon; the drain goes on with others", "daemon", i.Name, "to", to)
			d.targets.avoid(to)
			return rep, true, d.release(i, m)
		}
	}
}

// release puts aside a daemon that only its target can answer for.
func (d *Drain) release(i daemon.Info, m *host.Migration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[i.Entity] = released{m, i.Name}
	return fmt.Errorf("%w by node %s", errReleased, m.Target())
}
