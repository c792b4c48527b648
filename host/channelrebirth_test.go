package host_test

import (
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
)

// A node publishes after its backup, and is restored from it. Who has heard more than the
// backup has hears what is published from then on, and nothing twice; a cursor of what is
// lost is refused. So it is when the node is restored again, and after restarts.
func TestChannelsOfARestoredNode(t *testing.T) {
	var net hosttest.Net
	ka := newKey(t)
	dir := t.TempDir()
	a, b := channelNode(t, &net, ka, dir), startWith(t, &net, newKey(t), t.TempDir(), "ear", earFactory(), asItIs)
	a.create("ticks", broker.Policy{Limits: channel.Limits{Events: 100}})
	d := b.spawnAs("ear", nil)
	b.subscribe(d.Entity, a, "ticks", nil)
	want := ""
	publish := func(texts ...string) {
		t.Helper()
		for _, text := range texts {
			a.publish("ticks", text)
			want += " ticks:" + text
		}
		hears(t, b, d.Entity, want[1:])
	}
	follow := func(cursor broker.Cursor) error {
		begun := errors.New("it begins")
		err := a.Channels().Follow(t.Context(), "ticks", &cursor, func() error { return begun }, nil)
		if errors.Is(err, begun) {
			return nil
		}
		return err
	}
	birth := func() string {
		i, err := a.Channels().Info("ticks")
		if err != nil {
			t.Fatal(err)
		}
		return i.Birth
	}

	publish("1", "2", "3")
	first := birth()
	for round := range 3 {
		a.stop()
		backup := t.TempDir()
		if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		a = channelNode(t, &net, ka, dir)
		publish("lost", "lost as well")
		lost := broker.Cursor{Birth: birth(), Sequence: uint64(3 + 2*round + 2)}
		a.stop()

		dir = backup
		s, err := store.Open(store.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			_, err = host.MarkRestored(s, host.Incarnation{Number: uint64(round + 1), Backup: "b", Taken: time.Now(), Restored: time.Now()})
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		a = channelNode(t, &net, ka, dir)
		if err := a.Unconfirmed().ConfirmNode(t.Context()); err != nil {
			t.Fatal(err)
		}
		if birth() == lost.Birth {
			t.Fatalf("round %d: the channel goes on under the birth %s, as if nothing were lost", round, lost.Birth)
		}
		want += " ticks!0-0" // they are told that the channel is another
		publish("new", "new as well")
		if err := follow(lost); !errors.Is(err, channel.ErrChanged) {
			t.Errorf("round %d: a cursor of an event that is lost: got %v, want ErrChanged", round, err)
		}
		if err := follow(broker.Cursor{Birth: first, Sequence: 3}); err != nil {
			t.Errorf("round %d: a cursor of an event from before the first backup: %v", round, err)
		}
		a.stop()
		a = channelNode(t, &net, ka, dir)
	}
}
