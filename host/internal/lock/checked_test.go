//go:build race || lockorder

package lock

import (
	"strings"
	"testing"
)

// locked runs f, and returns what it panics with.
func locked(f func()) (message string) {
	defer func() {
		if p := recover(); p != nil {
			message = p.(string)
		}
	}()
	f()
	return ""
}

func TestOrder(t *testing.T) {
	type locks struct {
		arrival   Mutex[Arrival]
		one, two  Mutex[Daemon]
		table     RWMutex[Table]
		leaf, end Mutex[Leaf]
	}
	used := func(l *locks) { // as locks are that others know of
		l.one.Lock()
		l.one.Unlock()
		l.two.Lock()
		l.two.Unlock()
	}
	for _, c := range []struct {
		name string
		take func(*locks)
		want string // panics with this; empty: it does not
	}{
		{"in order", func(l *locks) { l.arrival.Lock(); l.one.Lock(); l.table.RLock(); l.leaf.Lock() }, ""},
		{"out of order", func(l *locks) { l.table.Lock(); l.one.Lock() }, "Daemon is taken under Table"},
		{"out of order, to read", func(l *locks) { l.leaf.Lock(); l.table.RLock() }, "Table is taken under Leaf"},
		{"out of order under a reader", func(l *locks) { l.table.RLock(); l.arrival.Lock() }, "Arrival is taken under Table"},
		{"two of a rank", func(l *locks) { used(l); l.one.Lock(); l.two.Lock() }, "Daemon is taken under Daemon"},
		{"two of a rank, one of them new", func(l *locks) { l.one.Lock(); l.two.Lock() }, ""},
		{"one twice", func(l *locks) { l.table.RLock(); l.table.RLock() }, "Table is taken under Table"},
		{"without waiting", func(l *locks) {
			used(l)
			l.one.Lock()
			if !l.two.TryLock() {
				panic("nobody has the lock")
			}
		}, ""},
		{"under one that was taken without waiting", func(l *locks) { l.leaf.TryLock(); l.table.Lock() }, "Table is taken under Leaf"},
		{"after an unlock", func(l *locks) { l.table.Lock(); l.table.Unlock(); l.one.Lock() }, ""},
		{"after one of two readers", func(l *locks) { l.table.RLock(); l.table.RUnlock(); l.leaf.Lock(); l.leaf.Unlock(); l.one.Lock() }, ""},
		{"after a hand-over", func(l *locks) { used(l); l.one.Lock(); HandOver(&l.one); l.two.Lock(); l.one.Unlock() }, ""},
		{"given back by another", func(l *locks) {
			used(l)
			l.one.Lock()
			done := make(chan struct{})
			go func() {
				defer close(done)
				l.one.Unlock()
			}()
			<-done
			l.two.Lock()
		}, ""},
	} {
		var l locks
		got := make(chan string)
		go func() { got <- locked(func() { c.take(&l) }) }() // a goroutine that holds nothing yet
		if got := <-got; (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
