package host

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"wasmhost/identity"
)

// Who lists migrations and waits for one that is being settled leaves the runtime
// to it: to end, it needs that.
func TestListingWaitsForNoLockWithAnother(t *testing.T) {
	r := &Runtime{incoming: make(map[identity.EntityID]*incoming)}
	in := &incoming{rt: r, done: make(chan struct{})}
	r.incoming[identity.EntityID{1}] = in
	in.mu.Lock()
	listed := make(chan struct{})
	go func() {
		defer close(listed)
		r.UnsettledMigrations()
	}()
	for !waitsForLock("UnsettledMigrations") {
		time.Sleep(time.Millisecond) // for the other goroutine to get there
	}
	if r.mu.TryLock() {
		r.mu.Unlock()
	} else {
		t.Error("the runtime is locked while one of its migrations is waited for")
	}
	in.mu.Unlock()
	<-listed
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
