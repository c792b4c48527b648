package host_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Callers that bring no event wait for a busy daemon without its mailbox: of each sort
// there are more than it has places.
func TestReadersTakeNoPlaceInTheMailbox(t *testing.T) {
	const places = 2
	for name, read := range map[string]func(context.Context, *host.Runtime, identity.EntityID) error{
		"tail after": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			outputs, err := r.Outputs().TailAfter(ctx, id, 0)
			if err == nil {
				<-outputs
			}
			return err
		},
		"snapshot": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			_, err := r.Snapshot(ctx, id)
			return err
		},
		"chain": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			return r.Outputs().Export(ctx, id, io.Discard)
		},
		"quarantine": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			_, err := r.Quarantine().List(ctx, id)
			return err
		},
		"settle": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			return r.Quarantine().Skip(ctx, id, 1)
		},
		"fork": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			_, err := r.Fork(ctx, id, host.ForkRequest{Count: 1})
			return err
		},
		"subscribe": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			return r.Subscriptions().Subscribe(ctx, id, r.Self(), "none", nil)
		},
		"unsubscribe": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			return r.Subscriptions().Unsubscribe(ctx, id, r.Self(), "none")
		},
		"roll back": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			_, err := r.RollBack(ctx, id)
			return err
		},
		"follow outputs": func(ctx context.Context, r *host.Runtime, id identity.EntityID) error {
			return r.Channels().Follow(ctx, channel.OutputsOf(id.Origin()), nil, nil, func(broker.Event, bool) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, c := newCounted(t)
			d := spawnWith(t, r, map[string]int64{"mailbox": places})
			first := deliverAll(ctx, r, d.Entity, "wait")
			<-c.entered
			ended := make(chan error)
			for range 4 * places {
				go func() { ended <- read(ctx, r, d.Entity) }()
			}
			r.AwaitReaders(d.Entity, 1)
			second := deliverAll(ctx, r, d.Entity, "twice")
			select {
			case err := <-second:
				t.Fatalf("an event beside readers ended with %v before the one before it", err)
			case c.leave <- struct{}{}:
			}
			if err := errors.Join(<-first, <-second); err != nil {
				t.Errorf("an event beside readers: %v", err)
			}
			cancel()
			for range 4 * places {
				<-ended // what it says is another test's
			}
		})
	}
}

// Readers are bounded by themselves; those that gave up while the daemon is busy have
// their places until the daemon is not.
func TestReadersAreBounded(t *testing.T) {
	r, c := newCounted(t)
	d := spawnWith(t, r, nil)
	first := deliverAll(t.Context(), r, d.Entity, "wait")
	<-c.entered
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for range daemon.MaxReaders {
		go func() {
			_, err := r.Snapshot(ctx, d.Entity)
			ended <- err
		}()
	}
	r.AwaitReaders(d.Entity, daemon.MaxReaders)
	refused := func() {
		t.Helper()
		if _, err := r.Snapshot(t.Context(), d.Entity); !errors.Is(err, daemon.ErrManyReaders) {
			t.Errorf("one more snapshot: %v, want ErrManyReaders", err)
		}
		if _, err := r.Outputs().TailAfter(t.Context(), d.Entity, 0); !errors.Is(err, daemon.ErrManyReaders) {
			t.Errorf("one more tail: %v, want ErrManyReaders", err)
		}
	}
	refused()
	cancel()
	for range daemon.MaxReaders {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a reader that gave up: %v", err)
		}
	}
	refused() // goroutines still wait for the lock
	c.leave <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	r.AwaitReaders(d.Entity, -1)
	if _, err := r.Snapshot(t.Context(), d.Entity); err != nil {
		t.Errorf("once the daemon is idle: %v", err)
	}
}

// A mailbox is full by bytes, too.
func TestAMailboxIsBoundedInBytes(t *testing.T) {
	r, c := newCounted(t)
	d := spawnWith(t, r, map[string]int64{"event-bytes": 16 << 20})
	first := deliverAll(t.Context(), r, d.Entity, "wait")
	<-c.entered
	big := string(bytes.Repeat([]byte("twice"), 3<<20)) // 15 MiB
	var waiting []<-chan error
	for range 4 {
		waiting = append(waiting, deliverAll(t.Context(), r, d.Entity, big))
	}
	r.AwaitBrought(d.Entity, 4*len(big))
	if _, err := r.Deliver(t.Context(), d.Entity, daemon.Event{Payload: []byte(big)}); !errors.Is(err, daemon.ErrMailboxFull) {
		t.Errorf("got %v, want ErrMailboxFull", err)
	}
	c.leave <- struct{}{}
	if err := <-first; err != nil {
		t.Error(err)
	}
	for _, w := range waiting {
		if err := <-w; errors.Is(err, daemon.ErrMailboxFull) {
			t.Errorf("an event that waited: %v", err)
		}
	}
}

// A follower holds bytes only while values wait for it, and is cut when it lags.
func TestAFollowerIsBounded(t *testing.T) {
	r, _ := newCounted(t)
	d := spawnWith(t, r, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	outputs, err := r.Outputs().Tail(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	use := r.Node().Budgets().Followers.Use
	if got := use().Used; got != 0 {
		t.Errorf("an idle tail holds %d bytes, want none", got)
	}
	const sent = 10_000
	for range sent / 2 {
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("twice")}); err != nil {
			t.Fatal(err)
		}
		if got := use().Used; got > budget.OneFollower {
			t.Fatalf("a tail holds %d bytes, at most %d", got, budget.OneFollower)
		}
	}
	got := uint64(0)
	for o := range outputs {
		if got++; o.Link.Sequence != got {
			t.Fatalf("output %d came as number %d", o.Link.Sequence, got)
		}
	}
	if got == 0 || got >= sent {
		t.Errorf("a tail that was cut gave %d of %d outputs, want the first of them", got, sent)
	}
	r.AwaitFollowers(0)
}

func spawnWith(t *testing.T, r *host.Runtime, limits map[string]int64) daemon.Info {
	t.Helper()
	own, err := daemon.LimitsOf(limits)
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(t.Context(), daemon.SpawnRequest{Kind: "counted", Limits: own})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func deliverAll(ctx context.Context, r *host.Runtime, id identity.EntityID, payload string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := r.Deliver(ctx, id, daemon.Event{Payload: []byte(payload)})
		done <- err
	}()
	return done
}
