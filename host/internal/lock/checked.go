//go:build race || lockorder

package lock

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
)

// Checked says whether the order is checked, which takes time and memory.
const Checked = true

// Mutex is a sync.Mutex of rank R that panics where a goroutine takes it out of order.
type Mutex[R Rank] struct {
	mu   sync.Mutex
	held owned
}

// Lock is sync.Mutex.Lock. It panics where the goroutine holds a lock that comes after.
func (m *Mutex[R]) Lock() {
	m.held.check(rankOf[R]())
	m.mu.Lock()
	m.held.own(rankOf[R]())
}

// TryLock is sync.Mutex.TryLock. It waits for nobody, and so is in no order.
func (m *Mutex[R]) TryLock() bool {
	ok := m.mu.TryLock()
	if ok {
		m.held.own(rankOf[R]())
	}
	return ok
}

// Unlock is sync.Mutex.Unlock.
func (m *Mutex[R]) Unlock() {
	m.held.disown()
	m.mu.Unlock()
}

func (m *Mutex[R]) handOver() { m.held.handOver() }

// RWMutex is a sync.RWMutex of rank R, as Mutex. Who reads is held to the order too: a
// reader waits for a writer that waits.
type RWMutex[R Rank] struct {
	mu   sync.RWMutex
	held owned
}

// Lock is sync.RWMutex.Lock, as Mutex.Lock.
func (m *RWMutex[R]) Lock() {
	m.held.check(rankOf[R]())
	m.mu.Lock()
	m.held.own(rankOf[R]())
}

// Unlock is sync.RWMutex.Unlock.
func (m *RWMutex[R]) Unlock() {
	m.held.disown()
	m.mu.Unlock()
}

// RLock is sync.RWMutex.RLock, as Mutex.Lock.
func (m *RWMutex[R]) RLock() {
	m.held.check(rankOf[R]())
	m.mu.RLock()
	m.held.own(rankOf[R]())
}

// RUnlock is sync.RWMutex.RUnlock.
func (m *RWMutex[R]) RUnlock() {
	m.held.disown()
	m.mu.RUnlock()
}

// HandOver says that another goroutine than the caller will unlock l, which the caller
// has locked: from now on it counts as nobody's.
func HandOver(l sync.Locker) {
	if l, ok := l.(interface{ handOver() }); ok {
		l.handOver()
	}
}

// goroutines are the locks that each goroutine holds.
var goroutines = struct {
	sync.Mutex
	of map[uint64][]*holding
}{of: make(map[uint64][]*holding)}

type holding struct {
	of   *owned
	rank rank
}

// owned is which goroutines hold one lock; guarded by goroutines.
type owned struct {
	by   []uint64
	used bool
}

// check panics where the calling goroutine holds a lock that does not come before the
// rank. One that was never taken is known to its maker alone, and may be taken under
// another of its rank.
func (o *owned) check(r rank) {
	me := goroutine()
	goroutines.Lock()
	defer goroutines.Unlock()

	for _, h := range goroutines.of[me] {
		if h.rank > r || h.rank == r && (o.used || h.of == o) {
			panic(fmt.Sprintf("locks out of order: %v is taken under %v", r, h.rank))
		}
	}
}

func (o *owned) own(r rank) {
	me := goroutine()
	goroutines.Lock()
	defer goroutines.Unlock()

	o.by, o.used = append(o.by, me), true
	goroutines.of[me] = append(goroutines.of[me], &holding{o, r})
}

// disown forgets that the calling goroutine holds the lock, or, where it does not, that
// another does: a lock may be given back by another goroutine than took it.
func (o *owned) disown() {
	me := goroutine()
	goroutines.Lock()
	defer goroutines.Unlock()

	if len(o.by) == 0 {
		return // it was handed over
	}
	if !slices.Contains(o.by, me) {
		me = o.by[0]
	}
	o.drop(me)
}

func (o *owned) handOver() {
	me := goroutine()
	goroutines.Lock()
	defer goroutines.Unlock()

	if slices.Contains(o.by, me) {
		o.drop(me)
	}
}

// drop needs the lock of goroutines.
func (o *owned) drop(me uint64) {
	o.by = slices.Delete(o.by, slices.Index(o.by, me), slices.Index(o.by, me)+1)
	list := goroutines.of[me]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].of == o {
			list = slices.Delete(list, i, i+1)
			break
		}
	}
	if goroutines.of[me] = list; len(list) == 0 {
		delete(goroutines.of, me)
	}
}

// goroutine returns the number of the calling goroutine, which its stack begins with.
func goroutine() uint64 {
	var b [64]byte
	text := bytes.TrimPrefix(b[:runtime.Stack(b[:], false)], []byte("goroutine "))
	n, err := strconv.ParseUint(string(text[:bytes.IndexByte(text, ' ')]), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("the stack of a goroutine begins with %q", b))
	}
	return n
}

func rankOf[R Rank]() rank {
	var r R
	return r.rank()
}
