package host_test

import (
	"fmt"
	"testing"

	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
)

// A source that releases a daemon, over another stream, before the target has said that
// all of it is durable there, is refused by name: the target neither owns it nor ends.
func TestAReleaseBeforePreparedIsRefused(t *testing.T) {
	var net hosttest.Net
	a, b := nativeNode(t, &net), nativeNode(t, &net)
	d := a.spawnAs("n", nil)
	a.wantSend(d.Entity, "x", "1")
	say, tail := a.script(d, 2)
	early := &migration.Release{Migration: migration.ID{1}, Entity: d.Entity, Epoch: d.Epoch + 1, Sequence: 1, Head: make([]byte, 32)}
	last := &migration.Tail{From: uint64(len(a.records(d.Entity)) - 2), Records: tail[:1]}

	for _, at := range []struct {
		name   string
		say    []migration.Message
		answer migration.Message // by which the target stands there
	}{
		{"offered", say[:1], &migration.Accept{}},
		{"during the transfer", say[:2], &migration.Accept{}},
		{"restored", say, &migration.Ready{}},
		{"during the replay", append(say[:3:3], last), &migration.Caught{}},
	} {
		t.Run(at.name, func(t *testing.T) {
			peer, err := a.mesh.Peer(b.Self())
			if err != nil {
				t.Fatal(err)
			}
			c, err := peer.OpenMigration(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Abort()
			for _, m := range at.say {
				if err := c.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			for got := migration.Message(nil); ; {
				if got, err = c.Recv(); err != nil {
					t.Fatal(err)
				}
				if fmt.Sprintf("%T", got) == fmt.Sprintf("%T", at.answer) {
					break
				}
			}

			(&stranger{t, a.mesh}).refused(migration.StateFailed, b.Self(), early)
			if b.DaemonCount() != 0 {
				t.Errorf("the target serves %d daemons, want none", b.DaemonCount())
			}
			if err := c.Send(migration.NewRefuse(migration.Failf(migration.Cancelled, "the source keeps it"))); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			net.Settle()
			b.nothing()
		})
	}
}
