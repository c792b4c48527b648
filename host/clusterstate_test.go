package host_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
)

// grower is a native daemon with as large a state as its events say, of which it
// tells how many it has had and what is in it.
type grower struct {
	native
	state []byte
}

func growerFactory() daemon.Factory {
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &grower{}, nil })
}

func (g *grower) Process(c *daemon.Call, p []byte) ([][]byte, error) {
	var size int
	if _, err := fmt.Sscan(string(p), &size); err == nil {
		g.state = make([]byte, size)
		r := rand.New(rand.NewPCG(uint64(size), 1))
		for i := 0; i+8 <= size; i += 8 {
			copy(g.state[i:], fmt.Sprintf("%08x", r.Uint32()))
		}
	}
	g.count++
	sum := uint64(0)
	for _, b := range g.state {
		sum = sum*31 + uint64(b)
	}
	return [][]byte{fmt.Appendf(nil, "%d %d %x", g.count, len(g.state), sum)}, nil
}

func (g *grower) Snapshot(*daemon.Call) ([]byte, error) {
	return append(fmt.Appendf(nil, "%020d", g.count), g.state...), nil
}

func (g *grower) Restore(_ *daemon.Call, s []byte) error {
	if len(s) < 20 {
		return errors.New("too short")
	}
	_, err := fmt.Sscanf(string(s[:20]), "%d", &g.count)
	g.state = append([]byte(nil), s[20:]...)
	return err
}

// stateCluster is a cluster whose daemons tell what their states are.
type stateCluster struct{ *testCluster }

func (c stateCluster) deliver(m *member, d daemon.Info, payload string) string {
	c.t.Helper()
	res, err := m.rt.Deliver(c.t.Context(), d.Entity, daemon.Event{Payload: []byte(payload)})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(res.Outputs[0].Payload)
}

// goesOn cuts the owner off, and returns the standby that goes on with the same state.
func (c stateCluster) goesOn(a *member, d daemon.Info, before string) *member {
	c.t.Helper()
	e := c.inSync(d.Entity, 1)
	a.isolate(true, true)
	time.Sleep(10 * time.Second)
	b := c.at(e.Standbys[0])
	var n, m, size, size2 int
	var sum, sum2 string
	after := c.deliver(b, d, "look")
	if _, err := fmt.Sscan(before, &n, &size, &sum); err != nil {
		c.t.Fatal(err)
	}
	if _, err := fmt.Sscan(after, &m, &size2, &sum2); err != nil || m != n+1 || size != size2 || sum != sum2 {
		c.t.Errorf("it went on with %q after %q", after, before)
	}
	a.isolate(false, false)
	time.Sleep(5 * time.Second)
	return b
}

// TestLargeStatesGoToStandbys lets daemons with states of some mebibytes go on at
// their standbys: one whose state grew there, and one that came with it in a file of
// its own.
func TestLargeStatesGoToStandbys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stateCluster{newTestCluster(t, 3)}
		a := c.nodes[0]
		d, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "heavy", Name: "grown", Standbys: 1, Ack: directory.AckMemory, Limits: daemon.Limits{SnapshotEvents: 2}})
		if err != nil {
			t.Fatal(err)
		}
		c.inSync(d.Entity, 1)
		c.deliver(a, d, fmt.Sprint(3<<20))
		c.deliver(a, d, "look")
		b := c.goesOn(a, d, c.deliver(a, d, "look"))

		snap, err := b.rt.Snapshot(t.Context(), d.Entity)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.rt.Stop(t.Context(), d.Entity); err != nil {
			t.Fatal(err)
		}
		encoded, err := snap.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) < 3<<20 {
			t.Fatalf("the state has %d bytes", len(encoded))
		}
		d, err = b.rt.SpawnFromSnapshot(t.Context(), daemon.SpawnRequest{Name: "came", Standbys: 1}, encoded)
		if err != nil {
			t.Fatal(err)
		}
		c.goesOn(b, d, c.deliver(b, d, "look"))
	})
}

// TestStatesInFilesGoToStandbys lets a daemon go on whose state is so large that it is a
// file of its own, and above what the nodes allow others: at a standby that was there when
// it was stored, and then at one that came later.
func TestStatesInFilesGoToStandbys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stateCluster{newLimitedCluster(t, 3, daemon.Limits{StateBytes: 1 << 20, MemoryBytes: 1 << 20})}
		a := c.nodes[0]
		d, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "heavy", Name: "huge", Standbys: 1, Limits: daemon.Limits{SnapshotEvents: 2, StateBytes: 64 << 20, MemoryBytes: 64 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		c.inSync(d.Entity, 1)
		c.deliver(a, d, fmt.Sprint(33<<20))
		c.deliver(a, d, "look")
		last := c.deliver(a, d, "look")
		if !a.s.HasFiles(d.Entity) {
			t.Fatal("the state is in no file")
		}
		time.Sleep(time.Second) // nothing waits for the standby's disk
		for _, m := range c.nodes[1:] {
			if e, ok := mustCluster(t, m).Look(d.Entity); ok && e.InSync(m.id()) && !m.s.HasFiles(d.Entity) {
				t.Error("the standby has it in none")
			}
		}
		b := c.goesOn(a, d, last)
		last = c.deliver(b, d, "look")
		if third := c.goesOn(b, d, last); third == b {
			t.Error("it went on at the node that was cut off")
		}
		// Whoever stood by, and does no more, keeps nothing.
		for _, m := range c.nodes {
			e, ok := mustCluster(t, m).Look(d.Entity)
			if has := m.s.HasFiles(d.Entity); !ok || has && e.Owner != m.id() && !e.InSync(m.id()) {
				t.Errorf("node %s has a state of it; owner %s, in sync %v", m.id(), e.Owner, e.Standbys)
			}
		}
	})
}

func mustCluster(t *testing.T, m *member) *directory.Member {
	t.Helper()
	dir, err := m.rt.Cluster()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
