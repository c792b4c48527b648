package directory

import "time"

// Clock measures a node's leases. It counts on while the process is stopped and
// while the machine sleeps, and nobody sets it.
type Clock interface {
	Now() time.Duration // since some moment
	After(d time.Duration) <-chan time.Time
}

// machineClock is the machine's.
type machineClock struct{}

// Now implements Clock.
func (machineClock) Now() time.Duration { return sinceBoot() }

// After implements Clock.
func (machineClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
