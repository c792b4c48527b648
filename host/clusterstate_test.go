package host_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost/host"
	"wasmhost/host/directory"
)

// grower is a native daemon with as large a state as its events say, of which it
// tells how many it has had and what is in it.
type grower struct {
	native
	state []byte
}

func growerFactory() host.Factory {
	return host.FactoryFunc(func(context.Context, host.Env) (host.Daemon, error) { return &grower{}, nil })
}

func (g *grower) Process(c *host.Call, p []byte) ([][]byte, error) {
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

func (g *grower) Snapshot(*host.Call) ([]byte, error) {
	return append(fmt.Appendf(nil, "%020d", g.count), g.state...), nil
}

func (g *grower) Restore(_ *host.Call, s []byte) error {
	if len(s) < 20 {
		return errors.New("too short")
	}
	_, err := fmt.Sscanf(string(s[:20]), "%d", &g.count)
	g.state = append([]byte(nil), s[20:]...)
	return err
}

// TestLargeStatesGoToStandbys lets daemons with states of some mebibytes go on at
// their standbys: one whose state grew there, and one that came with it in a file of
// its own.
func TestLargeStatesGoToStandbys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		deliver := func(m *member, d host.Info, payload string) string {
			t.Helper()
			res, err := m.rt.Deliver(t.Context(), d.Entity, host.Event{Payload: []byte(payload)})
			if err != nil {
				t.Fatal(err)
			}
			return string(res.Outputs[0].Payload)
		}
		goesOn := func(a *member, d host.Info, before string) *member {
			t.Helper()
			e := c.inSync(d.Entity, 1)
			a.isolate(true, true)
			time.Sleep(10 * time.Second)
			b := c.at(e.Standbys[0])
			var n, m, size, size2 int
			var sum, sum2 string
			after := deliver(b, d, "look")
			if _, err := fmt.Sscan(before, &n, &size, &sum); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscan(after, &m, &size2, &sum2); err != nil || m != n+1 || size != size2 || sum != sum2 {
				t.Errorf("it went on with %q after %q", after, before)
			}
			a.isolate(false, false)
			time.Sleep(5 * time.Second)
			return b
		}
		a := c.nodes[0]
		d, err := a.rt.Spawn(t.Context(), host.SpawnRequest{Kind: "heavy", Name: "grown", Standbys: 1, Ack: directory.AckMemory, Limits: host.Limits{SnapshotEvents: 2}})
		if err != nil {
			t.Fatal(err)
		}
		c.inSync(d.Entity, 1)
		deliver(a, d, fmt.Sprint(3<<20))
		deliver(a, d, "look")
		b := goesOn(a, d, deliver(a, d, "look"))

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
		d, err = b.rt.SpawnFromSnapshot(t.Context(), host.SpawnRequest{Name: "came", Standbys: 1}, encoded)
		if err != nil {
			t.Fatal(err)
		}
		goesOn(b, d, deliver(b, d, "look"))
	})
}
