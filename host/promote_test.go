package host_test

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// standing is what the node's copy of a daemon proves.
func (m *member) standing(id identity.EntityID) chain.End {
	m.t.Helper()
	var b bytes.Buffer
	if err := m.rt.Copies().Export(m.t.Context(), id, &b); err != nil {
		m.t.Fatal(err)
	}
	at, err := chain.EndOf(id, &b)
	if err != nil {
		m.t.Fatal(err)
	}
	return at
}

// newDirectory loses the cluster's directory and has the nodes that are left restart on
// a new one that begins with these daemons.
func (c *testCluster) newDirectory(left []*member, daemons ...directory.Daemon) {
	c.t.Helper()
	c.mem = directory.NewMemory()
	if err := directory.Seed(c.t.Context(), c.mem.Link(), daemons); err != nil {
		c.t.Fatal(err)
	}
	for _, m := range left {
		m.stop()
		m.start()
	}
	time.Sleep(2 * time.Second)
}

// TestAStandbysCopyIsPromoted loses a daemon's owner and the directory at one time: its
// standby goes on with all that was acknowledged, once it is promoted and a new directory
// names it.
func TestAStandbysCopyIsPromoted(t *testing.T) {
	for name, ack := range map[string]directory.Ack{"memory": directory.AckMemory, "disk": directory.AckDisk} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 3)
				a := c.nodes[0]
				d, sender := a.spawn(1, ack), someone(t)
				b := c.at(c.inSync(d.Entity, 1).Standbys[0])
				for n := uint64(1); n <= 20; n++ {
					c.countTo(d.Entity, sender, n)
				}
				at := b.standing(d.Entity)
				if at.Sequence != 20 || at.Epoch != 1 {
					t.Fatalf("the copy proves %+v", at)
				}
				if err := b.rt.Copies().Promote(t.Context(), d.Entity, at, 2); !errors.Is(err, directory.ErrAnswers) {
					t.Errorf("while the directory answers: %v", err)
				}
				left := []*member{}
				for _, m := range c.nodes {
					m.isolate(false, true)
					if m != a {
						left = append(left, m)
					}
				}
				time.Sleep(5 * time.Second)
				a.isolate(true, true)
				if cs := b.rt.Copies().List(); len(cs) != 1 || cs[0].Owned || !cs[0].InSync || !cs[0].Whole {
					t.Errorf("before: %+v", cs)
				}
				other := at
				other.Sequence--
				if err := b.rt.Copies().Promote(t.Context(), d.Entity, other, 2); !errors.Is(err, chain.ErrOtherEnd) {
					t.Errorf("as it does not stand: %v", err)
				}
				if err := b.rt.Copies().Promote(t.Context(), d.Entity, at, 7); err != nil {
					t.Fatal(err)
				}
				if err := b.rt.Copies().Promote(t.Context(), d.Entity, at, 7); err != nil {
					t.Errorf("again: %v", err)
				}
				c.newDirectory(left, directory.Daemon{Entity: d.Entity, Name: d.Name, Owner: b.id(), Epoch: 7, Want: 1, Ack: ack})
				c.nodes = left
				for n := uint64(20); n <= 30; n++ {
					c.countTo(d.Entity, sender, n)
				}
				if e := c.inSync(d.Entity, 1); e.Owner != b.id() || e.Epoch != 7 {
					t.Errorf("the directory has %+v", e)
				}
				if r := c.verifyChain(b, d.Entity); r.Outputs != 30 || r.Epoch != 7 || len(r.Mended) != 1 || r.Mended[0].How != chain.MendRecovery {
					t.Errorf("the chain: %+v", r)
				}
			})
		})
	}
}

// TestAnOwnerIsPromoted raises the epoch of a daemon where it is.
func TestAnOwnerIsPromoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		a := c.nodes[0]
		d, sender := a.spawn(0, 0), someone(t)
		c.countTo(d.Entity, sender, 1)
		for _, m := range c.nodes {
			m.isolate(false, true)
		}
		time.Sleep(5 * time.Second)
		if err := a.rt.Copies().Promote(t.Context(), d.Entity, a.standing(d.Entity), 4); err != nil {
			t.Fatal(err)
		}
		c.newDirectory(c.nodes, directory.Daemon{Entity: d.Entity, Name: d.Name, Owner: a.id(), Epoch: 4})
		c.countTo(d.Entity, sender, 2)
		if r := c.verifyChain(a, d.Entity); r.Outputs != 2 || r.Epoch != 4 {
			t.Errorf("the chain: %+v", r)
		}
	})
}

// TestTheLongestCopyIsChosen ranks copies.
func TestTheLongestCopyIsChosen(t *testing.T) {
	at := func(epoch, sequence uint64) chain.End { return chain.End{Epoch: epoch, Sequence: sequence} }
	whole := host.Copy{InSync: true, Whole: true, Index: 5}
	behind := host.Copy{Index: 9}
	owner := host.Copy{Owned: true, InSync: true, Whole: true, Index: 5}
	broken := errors.New("its chain is cut")
	for name, c := range map[string]struct {
		candidates []host.Candidate
		want       int
	}{
		"none":                       {nil, -1},
		"none is proven":             {[]host.Candidate{{Err: broken}}, -1},
		"more outputs":               {[]host.Candidate{{End: at(1, 10)}, {End: at(1, 20)}, {End: at(1, 15)}}, 1},
		"a higher epoch":             {[]host.Candidate{{End: at(2, 10)}, {End: at(1, 20)}}, 0},
		"what is not proven":         {[]host.Candidate{{End: at(9, 90), Err: broken}, {End: at(1, 1)}}, 1},
		"equally far, one complete":  {[]host.Candidate{{Copy: behind, End: at(1, 10)}, {Copy: whole, End: at(1, 10)}}, 1},
		"equally far, the owner":     {[]host.Candidate{{Copy: whole, End: at(1, 10)}, {Copy: owner, End: at(1, 10)}}, 1},
		"equally far, the same node": {[]host.Candidate{{Node: 2, Copy: whole, End: at(1, 10)}, {Node: 1, Copy: whole, End: at(1, 10)}}, 1},
	} {
		if got := host.Longest(c.candidates); got != c.want {
			t.Errorf("%s: copy %d is chosen, want %d", name, got, c.want)
		}
	}
}

// TestACopyIsNotBelieved reads copies that are of another daemon, cut, or changed.
func TestACopyIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		a := c.nodes[0]
		d, sender := a.spawn(0, 0), someone(t)
		c.countTo(d.Entity, sender, 1)
		c.countTo(d.Entity, sender, 2)
		var b bytes.Buffer
		if err := a.rt.Copies().Export(t.Context(), d.Entity, &b); err != nil {
			t.Fatal(err)
		}
		file := b.Bytes()
		if _, err := chain.EndOf(someone(t), bytes.NewReader(file)); !errors.Is(err, chain.ErrOriginMismatch) {
			t.Errorf("of another daemon: %v", err)
		}
		for i := range file {
			if _, err := chain.EndOf(d.Entity, bytes.NewReader(file[:i])); err == nil {
				t.Fatalf("%d bytes of it prove something", i)
			}
			changed := bytes.Clone(file)
			changed[i] ^= 1
			if at, err := chain.EndOf(d.Entity, bytes.NewReader(changed)); err == nil {
				t.Fatalf("with byte %d changed it proves %+v", i, at)
			}
		}
		if err := a.rt.Copies().Export(t.Context(), someone(t), &b); !errors.As(err, new(*daemon.NotFoundError)) {
			t.Errorf("of nobody: %v", err)
		}
	})
}
