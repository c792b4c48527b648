package host_test

import (
	"crypto/sha256"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/standby"
)

// TestStandbyKeepsItsCopyUnlessMoreIsProven has the owner's own node speak the protocol
// by hand: a Reset without proof, or with that of a shorter history, is refused, and the
// copy stays; the proof of a longer one is believed.
func TestStandbyKeepsItsCopyUnlessMoreIsProven(t *testing.T) {
	for _, c := range []struct {
		name  string
		proof func(a *member, d daemon.Info, next uint64) []byte
		gone  bool
	}{
		{"none", func(*member, daemon.Info, uint64) []byte { return nil }, false},
		{"shorter", func(a *member, d daemon.Info, next uint64) []byte { return proofOf(a, d, 1, next-1) }, false},
		{"as long", func(a *member, d daemon.Info, next uint64) []byte { return proofOf(a, d, 1, next) }, false},
		{"longer", func(a *member, d daemon.Info, next uint64) []byte { return proofOf(a, d, 1, next+1) }, true},
		{"later epoch", func(a *member, d daemon.Info, _ uint64) []byte { return proofOf(a, d, 2, 3) }, true},
		{"another's", func(a *member, d daemon.Info, next uint64) []byte {
			b := proofOf(a, d, 1, next+1)
			b[len(b)-1] ^= 1
			return b
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := newTestCluster(t, 2)
				a, b := cl.nodes[0], cl.nodes[1]
				d, sender := a.spawn(1, directory.AckDisk), someone(t)
				cl.inSync(d.Entity, 1)
				for n := uint64(1); n <= 10; n++ {
					cl.countTo(d.Entity, sender, n)
				}
				time.Sleep(time.Second)
				next, err := b.s.HistoryEnd(d.Entity)
				if err != nil || next < 10 {
					t.Fatalf("the copy has %d records: %v", next, err)
				}
				peer, err := a.mesh.Peer(b.id())
				if err != nil {
					t.Fatal(err)
				}
				conn, err := peer.OpenStandby(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Abort()
				say := func(m standby.Message) {
					if err := conn.Send(m); err == nil {
						_ = conn.Flush() // a refusal may have closed it
					}
				}
				say(&standby.Follow{Version: standby.Proving, Entity: d.Entity, Epoch: 1, Disk: true, Module: []byte{}})
				if msg, err := conn.Recv(); err != nil {
					t.Fatalf("%T, %v", msg, err)
				}
				if proof := c.proof(a, d, next); proof != nil {
					say(&standby.Proof{Bytes: proof})
				}
				say(&standby.Reset{})
				synctest.Wait()
				left, err := b.s.HistoryEnd(d.Entity)
				if err != nil || (left == 0) != c.gone {
					t.Errorf("the copy had %d records, and has %d, %v", next, left, err)
				}
				list, err := b.rt.Evidence().Of(d.Entity)
				if err != nil || (len(list) == 1) != c.gone {
					t.Errorf("what is kept of it: %+v, %v", list, err)
				}
			})
		})
	}
}

// proofOf is the proof that the node signs of so long a history.
func proofOf(a *member, d daemon.Info, epoch, next uint64) []byte {
	a.t.Helper()
	b, err := a.rt.SignReach(d.Entity, epoch, next, sha256.Sum256([]byte("a record")))
	if err != nil {
		a.t.Fatal(err)
	}
	return b
}
