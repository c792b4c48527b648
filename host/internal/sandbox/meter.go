package sandbox

import (
	"fmt"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// A guest gets fuel a slice at a time, and may run as much that it paid for before
// (abi.PaceGlobal). After each it hands control to Go, for the garbage collector, the
// wall limit and, once yieldAfter has passed, other goroutines.
const (
	fuelSlice  = 1 << 15
	paceSlice  = 1 << 15
	yieldAfter = time.Millisecond
)

// replayFuel is how much more fuel than its limit a call may take that is known to
// have succeeded once: version 1 of the charging may have overlooked as much.
const replayFuel = 1 << 36

// meter counts the fuel of one call, or of the calls that answer one event.
// What it decides follows from what the guest did alone, but for the wall
// limit, which is looked at when a slice is used up, and not while calls are replayed.
type meter struct {
	fuel, depth, pace api.MutableGlobal
	given             uint64 // in slices, of the limit
	limit             uint64
	start             time.Time     // when the first slice was used up
	yielded           time.Time     // when others had a turn last
	nested            bool          // the depth may not be what it was before the call
	patience          time.Duration // of who queries, see Query; 0: as long as the limits allow
}

func (m *meter) begin(limit uint64) {
	m.limit = limit
	m.given = min(limit, fuelSlice)
	m.start = time.Time{}
	m.fuel.Set(m.given)
	if m.nested { // calls that return put it right themselves
		m.depth.Set(abi.MaxDepth)
		m.nested = false
	}
}

// used returns the fuel taken since begin.
func (m *meter) used() uint64 { return m.given - m.fuel.Get() }

// outOfFuel answers abi.OutOfFuel: it gives the next slice, or ends the call.
func (i *instance) outOfFuel() {
	m, c := &i.meter, &i.call
	if int32(m.depth.Get()) < 0 {
		c.over, c.overText = abi.LimitStack, fmt.Sprintf("its calls are nested more than %d deep", abi.MaxDepth)
		panic(errOverLimit)
	}
	if i.outOfLimit() {
		panic(errOverLimit)
	}
	now := time.Now()
	switch {
	case m.start.IsZero():
		m.start, m.yielded = now, now
	case !i.replayed() && now.Sub(m.start) > i.bound.options.Limits.Wall:
		c.over, c.overText = abi.LimitWall, fmt.Sprintf("it ran for more than %v", i.bound.options.Limits.Wall)
		panic(errOverLimit)
	case i.stopped(), m.patience > 0 && now.Sub(m.start) > m.patience:
		c.over = overStopped
		panic(errOverLimit)
	case i.stoppable && !i.replayed() && i.bound.options.Pause != nil:
		i.bound.options.Pause()
	}
	if now.Sub(m.yielded) > yieldAfter {
		runtime.Gosched()
		m.yielded = time.Now()
	}
	used := m.used()
	slice := min(fuelSlice, m.limit-used)
	m.given = used + slice
	m.fuel.Set(slice)
	m.pace.Set(paceSlice)
}

// outOfLimit reports whether more fuel was taken than the limit, and notes so.
func (i *instance) outOfLimit() bool {
	m, c := &i.meter, &i.call
	if int64(m.fuel.Get()) >= 0 || m.used() <= m.limit {
		return false
	}
	c.over, c.overText = abi.LimitFuel, fmt.Sprintf("it ran for more than %d units of fuel", m.limit)
	return true
}

// stopped reports whether the host ends the event.
func (i *instance) stopped() bool {
	stop := i.bound.options.Stop
	return stop != nil && i.stoppable && !i.replayed() && stop()
}

// replayed reports whether the call is known to have succeeded once.
func (i *instance) replayed() bool { return i.bound.silent || i.call.ev.Replay }

// spend takes fuel for n bytes that the host moves on the guest's behalf.
func (i *instance) spend(n uint64) {
	const free = 1024 // what any call may move for nothing
	if n <= free {
		return
	}
	i.charge(n / abi.BulkPerFuel)
}

// charge takes fuel.
func (i *instance) charge(units uint64) {
	left := i.meter.fuel.Get() - units
	i.meter.fuel.Set(left)
	if int64(left) < 0 {
		i.outOfFuel()
	}
}
