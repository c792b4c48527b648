//go:build !race && !lockorder

package lock

import "sync"

// Checked says whether the order is checked, which takes time and memory.
const Checked = false

// Mutex is a sync.Mutex of rank R. Under the race detector, and with the build tag
// lockorder, it panics where a goroutine takes it out of order.
type Mutex[R Rank] = sync.Mutex

// RWMutex is a sync.RWMutex of rank R, as Mutex.
type RWMutex[R Rank] = sync.RWMutex

// HandOver says that another goroutine than the caller will unlock l, which the caller
// has locked: from now on it counts as nobody's.
func HandOver(sync.Locker) {}
