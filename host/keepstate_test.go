package host_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// countedConn counts the bytes that a node sends to a standby.
type countedConn struct {
	standby.Conn
	sent *atomic.Int64
}

func (c countedConn) Send(m standby.Message) error {
	b, err := standby.Encode(nil, m)
	if err != nil {
		return err
	}
	c.sent.Add(int64(len(b)))
	return c.Conn.Send(m)
}

// down ends the node in order.
func (m *member) down() {
	m.t.Helper()
	m.stop()
	m.mesh.Crash()
	if err := m.s.Close(); err != nil {
		m.t.Error(err)
	}
}

// TestAPlannedRestartSendsNoStateAgain ends the owner of a daemon with a large state in
// order, or its standby, or both, and starts them again: until the standby is in sync
// again, nearly nothing is sent. One state lies in the store, the other in a file.
func TestAPlannedRestartSendsNoStateAgain(t *testing.T) {
	for _, size := range []int{3 << 20, 40 << 20} {
		t.Run(fmt.Sprint(size>>20, "MiB"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { restartInOrder(t, size) })
		})
	}
}

func restartInOrder(t *testing.T, size int) {
	var sent atomic.Int64
	base := &testCluster{t: t, mem: directory.NewMemory(), own: daemon.Limits{StateBytes: 256 << 20}, disks: true}
	base.net.WrapStandby = func(_, _ identity.NodeID, c standby.Conn) standby.Conn { return countedConn{c, &sent} }
	c := stateCluster{base.begin([]float64{1, 1})}
	a := c.nodes[0]
	d, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "heavy", Name: "large", Standbys: 1, Limits: daemon.Limits{SnapshotEvents: 6}})
	if err != nil {
		t.Fatal(err)
	}
	c.inSync(d.Entity, 1)
	c.deliver(a, d, fmt.Sprint(size))
	for range 5 {
		c.deliver(a, d, "look")
	}
	time.Sleep(5 * time.Second) // its state is at the standby
	if sent.Load() < int64(size)/4 {
		t.Fatalf("its state is of %d bytes, and %d were sent", size, sent.Load())
	}
	last := 6
	look := func() {
		t.Helper()
		last++
		var n, bytes int
		var sum string
		m, _ := c.serving(d.Entity)
		if _, err := fmt.Sscan(c.deliver(m, d, "look"), &n, &bytes, &sum); err != nil || n != last || bytes != size {
			t.Errorf("event %d of a state of %d bytes: it has had %d, of %d bytes", last, size, n, bytes)
		}
	}
	owner := func() (is, not *member) {
		t.Helper()
		is = c.at(c.inSync(d.Entity, 1).Owner)
		for _, m := range c.nodes {
			if m != is {
				not = m
			}
		}
		return is, not
	}
	for _, round := range []struct {
		name    string
		restart func()
	}{
		{"the owner", func() {
			is, _ := owner()
			is.down()
			time.Sleep(5 * time.Second)
			is.back()
		}},
		{"the standby", func() {
			_, not := owner()
			not.down()
			time.Sleep(5 * time.Second)
			not.back()
		}},
		{"the standby, while events come", func() {
			_, not := owner()
			not.down()
			time.Sleep(5 * time.Second)
			look()
			not.back()
		}},
		{"both", func() {
			is, not := owner()
			not.down()
			is.down()
			is.back()
			not.back()
		}},
	} {
		sent.Store(0)
		round.restart()
		time.Sleep(5 * time.Second)
		c.inSync(d.Entity, 1)
		if n := sent.Load(); n > 64<<10 {
			t.Errorf("%s was started again, and %d bytes were sent", round.name, n)
		} else {
			t.Logf("%s was started again, and %d bytes were sent", round.name, n)
		}
		look()
		time.Sleep(5 * time.Second)
	}
}

// oldStandby has a standby answer as one of an earlier version of the protocol.
type oldStandby struct {
	standby.Conn
	speaks uint8
	saw    func(standby.Message)
	answer standby.Message // given next; nil: the peer's
	cut    bool
}

func (o *oldStandby) Send(m standby.Message) error {
	if b, err := standby.Encode(nil, m); err != nil || len(b) == 0 {
		return errors.Join(err, standby.ErrBadMessage)
	}
	switch f := m.(type) {
	case *standby.Follow:
		if f.Version > o.speaks {
			o.answer = &standby.Refuse{Text: fmt.Sprintf("version %d of the standby protocol, this node speaks %d", f.Version, o.speaks)}
			return nil
		}
	case *standby.Compare, *standby.Proof:
		if o.speaks < standby.Proving { // it knows no such message, and closes the stream
			o.cut = true
			o.Abort()
			return nil
		}
	}
	o.saw(m)
	return o.Conn.Send(m)
}

func (o *oldStandby) Recv() (standby.Message, error) {
	if o.cut {
		return nil, standby.ErrClosed
	}
	if m := o.answer; m != nil {
		o.answer = nil
		return m, nil
	}
	m, err := o.Conn.Recv()
	if _, is := m.(*standby.State); is && o.speaks < standby.Keeping {
		return nil, fmt.Errorf("%w: version %d has no State", standby.ErrBadMessage, o.speaks)
	}
	return m, err
}

// TestStandbysOfEarlierVersions has an owner keep a standby that speaks version 1 of the
// protocol, or 2: it gets what that version has, the daemon serves after the owner's crash
// as far as such a standby can be compared with, and goes on at it.
func TestStandbysOfEarlierVersions(t *testing.T) {
	for _, speaks := range []uint8{standby.Version, standby.Proving, standby.Keeping} {
		t.Run(fmt.Sprint("version ", speaks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var followed, compared, proved atomic.Int64 // as the highest version, and how often
				base := &testCluster{t: t, mem: directory.NewMemory(), disks: true}
				base.net.WrapStandby = func(_, _ identity.NodeID, c standby.Conn) standby.Conn {
					return &oldStandby{Conn: c, speaks: speaks, saw: func(m standby.Message) {
						switch m := m.(type) {
						case *standby.Follow:
							followed.Store(max(followed.Load(), int64(m.Version)))
						case *standby.Compare:
							compared.Add(1)
						case *standby.Proof:
							proved.Add(1)
						}
					}}
				}
				c := base.begin([]float64{1, 1})
				a := c.nodes[0]
				d, sender := a.spawn(1, directory.AckDisk), someone(t)
				c.inSync(d.Entity, 1)
				for n := uint64(1); n <= 5; n++ {
					c.countTo(d.Entity, sender, n)
				}
				if got := followed.Load(); got != int64(speaks) {
					t.Errorf("a standby that speaks version %d was followed under %d", speaks, got)
				}
				c.killAll(map[*member]*vfs.MemFS{})
				c.backAll(a)
				c.serving(d.Entity)
				c.countTo(d.Entity, sender, 6)
				if got := compared.Load() > 0; got != (speaks >= standby.Proving) {
					t.Errorf("it was compared with: %v", got)
				}
				c.inSync(d.Entity, 1)
				// The owner is gone: the standby goes on.
				is := c.at(c.inSync(d.Entity, 1).Owner)
				is.kill(is.backup(true))
				time.Sleep(10 * time.Second)
				is.back()
				c.countTo(d.Entity, sender, 7)
				m, _ := c.serving(d.Entity)
				if m == is {
					t.Error("it did not go on at its standby")
				}
				if r := c.verifyChain(m, d.Entity); r.Outputs != 7 {
					t.Errorf("the chain has %d outputs", r.Outputs)
				}
			})
		})
	}
}
