package host_test

import (
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// holding is a native daemon whose events wait to be let go.
type holding struct {
	daemon.Daemon
	begun, release chan struct{}
}

func (h *holding) Process(*daemon.Call, []byte) ([][]byte, error) {
	h.begun <- struct{}{}
	<-h.release
	return [][]byte{[]byte("done")}, nil
}

// Whoever lists daemons or looks at one does not wait for the event that it
// processes: he sees how it stood before.
func TestBusyDaemonsAreShown(t *testing.T) {
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &holding{begun: make(chan struct{}), release: make(chan struct{})}
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	d, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "busy"}, h)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3) {
		done := make(chan error, 1)
		go func() {
			_, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
			done <- err
		}()
		<-h.begun
		i, err := r.Daemons().Inspect(d.Entity) // who waited here would do so for ever
		if err != nil || i.Sequence != n || i.EventsProcessed != n || i.State != "running" || i.Name != "busy" {
			t.Errorf("after %d events: %+v, %v", n, i, err)
		}
		if all := r.Daemons().List(); len(all) != 1 || all[0].Sequence != n {
			t.Errorf("after %d events: %+v", n, all)
		}
		h.release <- struct{}{}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
