package sandbox

import (
	"fmt"
	"runtime"
	"time"

	"github.com/tetratelabs/wazero/api"

	"wasmhost/abi"
)

// fuelSlice is how much fuel a guest gets at a time: about a millisecond's
// worth, after which other goroutines and the garbage collector have a turn.
const fuelSlice = 1 << 20

// meter counts the fuel of one call, or of the calls that answer one event.
// What it decides follows from what the guest did alone, but for the wall
// limit, which is looked at when a slice is used up, and not while calls are replayed.
type meter struct {
	fuel, depth api.MutableGlobal
	given       uint64 // in slices, of the limit
	limit       uint64
	start       time.Time // when the first slice was used up
	nested      bool      // the depth may not be what it was before the call
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
	used := m.used()
	if used > m.limit {
		c.over, c.overText = abi.LimitFuel, fmt.Sprintf("it ran for more than %d units of fuel", m.limit)
		panic(errOverLimit)
	}
	now := time.Now()
	switch {
	case m.start.IsZero():
		m.start = now
	case !i.bound.silent && now.Sub(m.start) > i.bound.options.Limits.Wall:
		c.over, c.overText = abi.LimitWall, fmt.Sprintf("it ran for more than %v", i.bound.options.Limits.Wall)
		panic(errOverLimit)
	}
	runtime.Gosched()
	slice := min(fuelSlice, m.limit-used)
	m.given = used + slice
	m.fuel.Set(slice)
}

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
