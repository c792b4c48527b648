package fair

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Rate is how much of its own accord a flow may make a second, and how much at once
// after a rest. Zero values are not bounded.
type Rate struct {
	Events, EventBurst int64
	Bytes, ByteBurst   int64
}

// pace is a flow's rate. It lets work begin while nothing is owed, and has the next
// wait until what it made is paid for: a single piece of work may be of any size.
type pace struct {
	mu     sync.Mutex
	rate   Rate
	events time.Duration // until the events made so far are paid for; below 0: saved up
	bytes  time.Duration
	at     time.Time // of the two
}

// Limit sets the flow's rate. The flow begins with a full burst.
func (f *Flow) Limit(r Rate) {
	p := &f.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate, p.at = r, time.Now()
	p.events, p.bytes = -cost(r.EventBurst, r.Events), -cost(r.ByteBurst, r.Bytes)
}

// settle brings p up to date. It needs p.mu.
func (p *pace) settle() {
	now := time.Now()
	passed := now.Sub(p.at)
	p.at = now
	p.events = saved(p.events, passed, p.rate.Events, p.rate.EventBurst)
	p.bytes = saved(p.bytes, passed, p.rate.Bytes, p.rate.ByteBurst)
}

func saved(owed, passed time.Duration, rate, burst int64) time.Duration {
	if rate == 0 {
		return 0
	}
	return max(owed-passed, -cost(burst, rate))
}

// cost is how long it takes to pay for n at the rate.
func cost(n, rate int64) time.Duration {
	if rate == 0 {
		return 0
	}
	return time.Duration(float64(n) / float64(rate) * float64(time.Second))
}

// Made charges the flow for what it made.
func (f *Flow) Made(events int, bytes int64) {
	f.used.events.Add(int64(events))
	p := &f.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	p.events += cost(int64(events), p.rate.Events)
	p.bytes += cost(bytes, p.rate.Bytes)
}

// Owes returns how long the flow must wait before it may make more.
func (f *Flow) Owes() time.Duration {
	p := &f.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	return max(p.events, p.bytes, 0)
}

// OwesBytes is Owes for work whose events are charged to another flow.
func (f *Flow) OwesBytes() time.Duration {
	p := &f.pace
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	return max(p.bytes, 0)
}

// Sleep waits for so long, or returns the context's error.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}

	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a daemon's rate: %w", context.Cause(ctx))
	}
}
