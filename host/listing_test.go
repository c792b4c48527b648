package host

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration/source"
	"wasmhost.example/host/migration/target"
	"wasmhost.example/identity"
)

// Who lists migrations and waits for one that is being settled leaves the table to it:
// to end, it needs that.
func TestListingWaitsForNoLockWithAnother(t *testing.T) {
	log := &heldLog{}
	e := &env.Env{Logger: slog.New(log), Clock: time.Now, Notify: func(daemon.Notification) {}, Context: t.Context()}
	r := &Runtime{env: e, table: table.New[*engine.Daemon, *target.Arrival, *source.Migration](e, target.ArrivalsOfPeer, target.ArrivalsOfNode)}
	r.departures = source.New(e, nil, nil, departuresOf{r})
	for _, c := range []struct {
		name string
		list func()
	}{
		{"Migrations.Unsettled", func() { r.Migrations().Unsettled() }},
		{"present", func() { r.present() }},
	} {
		m, err := r.departures.Resume(&source.Subject{Entity: identity.EntityID{2}}, &source.Released{}, false)
		if err != nil {
			t.Fatal(err)
		}
		r.table.Depart(m)
		held := &settling{m: m, log: log} // the departure's lock; an arrival's comes before the table's, as package lock checks
		held.Lock()
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
		held.Unlock()
		<-listed
		<-changed
	}
}

// settling holds a departure's lock: it is being settled, which is logged under the lock.
type settling struct {
	m    *source.Migration
	log  *heldLog
	over chan struct{}
}

func (s *settling) Lock() {
	s.log.reached, s.log.goOn, s.over = make(chan struct{}), make(chan struct{}), make(chan struct{})
	ended, cancel := context.WithCancel(context.Background())
	cancel() // nobody waits for the departure to end
	go func() {
		defer close(s.over)
		_, _ = s.m.TakeBack(ended) // the context's error
	}()
	<-s.log.reached
}

func (s *settling) Unlock() {
	close(s.log.goOn)
	<-s.over
}

// heldLog holds up who logs.
type heldLog struct{ reached, goOn chan struct{} }

func (h *heldLog) Enabled(context.Context, slog.Level) bool { return true }

func (h *heldLog) Handle(context.Context, slog.Record) error {
	close(h.reached)
	<-h.goOn
	return nil
}

func (h *heldLog) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h *heldLog) WithGroup(string) slog.Handler { return h }

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
