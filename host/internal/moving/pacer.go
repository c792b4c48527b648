package moving

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Pacer spaces the events of a daemon that does more than its migration can carry. The
// zero Pacer lets each event begin at once. It is safe for concurrent use.
type Pacer struct {
	every atomic.Int64 // nanoseconds; 0: not at all
	next  atomic.Int64 // when the next event may begin, by time.Since(pacerStart)
}

var pacerStart = time.Now()

// Interval returns how long it is from one event to the next, at least; 0: any time.
func (p *Pacer) Interval() time.Duration { return time.Duration(p.every.Load()) }

// Set spaces the events from now on; 0 ends that.
func (p *Pacer) Set(every time.Duration) { p.every.Store(int64(every)) }

// Wait returns when the caller's event may begin, or an error where ctx ends before.
func (p *Pacer) Wait(ctx context.Context) error {
	every := p.every.Load()
	if every == 0 {
		return nil
	}

	now := int64(time.Since(pacerStart))
	var mine int64
	for {
		next := p.next.Load()
		mine = max(next, now)
		if p.next.CompareAndSwap(next, mine+every) {
			break
		}
	}
	if mine == now {
		return nil
	}

	timer := time.NewTimer(time.Duration(mine - now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for a daemon that is slowed, since it is on its way to another node: %w", context.Cause(ctx))
	}
}
