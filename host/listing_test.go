package host

import (
	"bytes"
	"runtime"
	"sync"
	"testing"
	"time"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// Who lists migrations and waits for one that is being settled leaves the table to it:
// to end, it needs that.
func TestListingWaitsForNoLockWithAnother(t *testing.T) {
	e := &env.Env{}
	r := &Runtime{env: e, table: table.New[*hosted, *incoming, *Migration](e, ArrivalsOfPeer, ArrivalsOfNode)}
	in := &incoming{rt: r, offer: migration.Offer{Entity: identity.EntityID{1}}, done: make(chan struct{}), at: migration.NewTarget()}
	m := &Migration{rt: r, d: &hosted{}, entity: identity.EntityID{2}, at: migration.NewOrchestrator()}
	r.table.PutArrival(in)
	r.table.Depart(m)
	for _, c := range []struct {
		name string
		list func()
		lock sync.Locker
	}{
		{"UnsettledMigrations", func() { r.UnsettledMigrations() }, &in.mu},
		{"UnsettledMigrations", func() { r.UnsettledMigrations() }, &m.mu},
		{"present", func() { r.present() }, &in.mu},
		{"present", func() { r.present() }, &m.mu},
	} {
		c.lock.Lock()
		listed := make(chan struct{})
		go func() {
			defer close(listed)
			c.list()
		}()
		for !waitsForLock(c.name) {
			time.Sleep(time.Millisecond) // for the other goroutine to get there
		}
		changed := make(chan struct{})
		go func() {
			defer close(changed)
			r.table.Depart(m)
		}()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Errorf("%s holds the table's lock while it waits for a migration", c.name)
		}
		c.lock.Unlock()
		<-listed
		<-changed
	}
}

// waitsForLock reports whether a goroutine in that function waits for a mutex.
func waitsForLock(function string) bool {
	b := make([]byte, 1<<20)
	for _, g := range bytes.Split(b[:runtime.Stack(b, true)], []byte("\n\n")) {
		if bytes.Contains(g, []byte("[sync.Mutex.Lock")) && bytes.Contains(g, []byte(function)) {
			return true
		}
	}
	return false
}
