package leader

import (
	"context"
	"slices"
	"time"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// startKeeping has the standbys looked after, once there are to be any.
func (l *Leader) startKeeping() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.working || l.over != nil || l.entry.Want == 0 && len(l.entry.Standbys) == 0 || !l.group.env.Work.Begin() {
		return
	}
	l.working = true
	go func() {
		defer l.group.env.Work.Done()
		l.keep(l.group.env.Context)
	}()
}

// keep looks after the standbys until the daemon is another's.
func (l *Leader) keep(ctx context.Context) {
	every := max(l.group.lag/4, 10*time.Millisecond)
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-l.kick:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		timer.Reset(every)
		l.mu.Lock()
		over := l.over != nil
		l.mu.Unlock()
		if over {
			return
		}
		if _, held := l.group.directory.Lease(); !held {
			continue
		}
		if err := l.tend(ctx); err != nil && ctx.Err() == nil {
			l.group.env.Logger.Warn("looking after a daemon's standbys", "daemon", l.daemon.Entity().Origin(), "error", err)
		}
	}
}

// tend starts and ends what follows, and says in the directory who is in sync.
func (l *Leader) tend(ctx context.Context) error {
	if err := l.settle(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	e := l.entry
	verified := l.session == l.group.session()
	l.mu.Unlock()
	if !verified {
		return nil
	}
	wanted := l.wanted(e)
	l.mu.Lock()
	for _, n := range wanted {
		if l.follows[n] == nil && l.over == nil {
			l.follow(n)
		}
	}
	for n, f := range l.follows {
		if !slices.Contains(wanted, n) && !slices.Contains(l.needs(), n) {
			f.cancel()
			delete(l.follows, n)
		}
	}
	var in, out []identity.NodeID
	for _, n := range e.Standbys {
		if l.lags(n) {
			out = append(out, n)
		}
	}
	for n, f := range l.follows {
		if !e.InSync(n) && f.level && slices.Contains(wanted, n) {
			in = append(in, n)
		}
	}
	l.mu.Unlock()
	for _, n := range out {
		if err := l.part(ctx, n, "it lags or is gone"); err != nil {
			return err
		}
	}
	for _, n := range in {
		if err := l.admit(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// wanted returns who is to be a standby: those in sync first.
func (l *Leader) wanted(e directory.Entry) []identity.NodeID {
	l.mu.Lock()
	spares := l.spares
	l.mu.Unlock()
	var out []identity.NodeID
	for _, n := range e.Standbys {
		if l.group.directory.Here(n) && len(out) < e.Want && n != spares {
			out = append(out, n)
		}
	}
	for _, n := range l.group.directory.Candidates(e.Entity, l.group.env.Self) {
		if len(out) >= e.Want {
			break
		}
		if !slices.Contains(out, n) && n != spares {
			out = append(out, n)
		}
	}
	return out
}

// lags reports whether a standby in sync owes an answer for too long, or is gone.
// It needs l.mu.
func (l *Leader) lags(n identity.NodeID) bool {
	if !l.group.directory.Here(n) {
		return true
	}
	f := l.follows[n]
	if f == nil {
		return false // it is about to be
	}
	if f.held >= l.number {
		return false
	}
	for _, u := range l.queue {
		if u.number > f.held {
			return l.group.now()-u.since > l.group.lag
		}
	}
	return f.behind != 0 && l.group.now()-f.behind > l.group.lag
}

// admit makes a standby one in sync: from before it is said, answers wait for it.
func (l *Leader) admit(ctx context.Context, n identity.NodeID) error {
	l.mu.Lock()
	f := l.follows[n]
	if f == nil || !f.level || f.held < l.answered || l.over != nil || l.unsure {
		l.mu.Unlock()
		return nil
	}
	l.joins = n
	l.mu.Unlock()
	err := l.change(ctx, func(e directory.Entry) (directory.Daemon, bool) {
		return e.With(n), !e.InSync(n)
	})
	l.mu.Lock()
	if !l.unsure {
		l.joins = 0
	}
	l.mu.Unlock()
	l.Advance()
	if err == nil {
		l.group.env.Logger.Info("a standby is in sync", "daemon", l.daemon.Entity().Origin(), "standby", n)
	}
	return err
}

// part makes a standby one that is not in sync; then answers wait for it no longer.
func (l *Leader) part(ctx context.Context, n identity.NodeID, why string) error {
	err := l.change(ctx, func(e directory.Entry) (directory.Daemon, bool) {
		return e.Without(n), e.InSync(n)
	})
	l.Advance()
	if err == nil {
		l.group.env.Logger.Warn("a standby is not in sync any more", "daemon", l.daemon.Entity().Origin(), "standby", n, "why", why)
	}
	return err
}
