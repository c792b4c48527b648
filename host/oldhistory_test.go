package host_test

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// cutLog takes the end off the newest log of the disk's engine, as a disk does that
// lied about a sync.
func cutLog(t *testing.T, disk *vfs.MemFS, part float64) {
	t.Helper()
	newest, dir := "", ""
	var walk func(at string)
	walk = func(at string) {
		names, err := disk.List(at)
		if err != nil {
			return // a file
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".log") && name > newest {
				newest, dir = name, at
			}
			walk(path.Join(at, name))
		}
	}
	walk(filepath.Join(compiled, "data"))
	if newest == "" {
		t.Fatal("the engine has no log")
	}
	name := path.Join(dir, newest)
	file, err := disk.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	if file, err = disk.Create(name, vfs.WriteCategoryUnspecified); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(b[:int(float64(len(b))*(1-part))]); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
}

// TestOwnerWithACutLogHandsOver takes the end off the owner's log.
func TestOwnerWithACutLogHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 3)
		a := c.nodes[0]
		d, sender := a.spawn(1, directory.AckDisk), someone(t)
		c.inSync(d.Entity, 1)
		for n := uint64(1); n <= 20; n++ {
			c.countTo(d.Entity, sender, n)
		}
		cut := a.backup(true)
		cutLog(t, cut, 0.3)
		c.killAll(map[*member]*vfs.MemFS{a: cut})
		c.backAll(a)
		m, i := c.serving(d.Entity)
		if i.EventsProcessed != 20 || m == a {
			t.Fatalf("%d of 20 events are left, on the owner: %v", i.EventsProcessed, m == a)
		}
		c.countTo(d.Entity, sender, 21)
	})
}

var oldDisks = flag.Uint64("olddisks", 40, "how many stories of disks that are set back are tried")

// TestOldAndShortDisksNeverWin sets nodes back at random, one at a time, to older copies
// of their disks or to logs without an end, while others are killed: no event that was
// acknowledged on disk is lost, none is applied twice.
func TestOldAndShortDisksNeverWin(t *testing.T) {
	seeds := *oldDisks
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { setBack(t, seed) })
		})
	}
}

func setBack(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 19))
	c := newDiskCluster(t, 3)
	standbys := 1 + int(seed%2)
	d, sender := c.nodes[0].spawn(standbys, directory.AckDisk), someone(t)
	c.inSync(d.Entity, standbys)
	at := uint64(0)
	count := func() {
		for range 2 + rng.IntN(6) {
			at++
			c.countTo(d.Entity, sender, at)
		}
	}
	for round := range 4 {
		count()
		old := make(map[*member]*vfs.MemFS)
		for _, m := range c.nodes {
			old[m] = m.backup(rng.IntN(2) == 0)
		}
		if rng.IntN(2) == 0 { // the backup is of another life
			c.killAll(map[*member]*vfs.MemFS{})
			c.anyOrder(rng)
			count()
		}
		count()
		owner := c.settled(d.Entity, standbys)
		victim := owner
		all := rng.IntN(2) == 0
		disks := make(map[*member]*vfs.MemFS)
		switch rng.IntN(4) {
		case 0: // the owner's log loses its end
			disks[owner] = owner.backup(true)
			cutLog(t, disks[owner], rng.Float64())
		case 1: // a standby's: its owner lives
			victim, all = c.nodes[rng.IntN(3)], false
			if victim != owner {
				disks[victim] = victim.backup(true)
				cutLog(t, disks[victim], rng.Float64())
			}
		case 2: // any node is set back; a standby while its owner lives
			victim = c.nodes[rng.IntN(3)]
			all = all && victim == owner
			disks[victim] = old[victim]
		case 3: // what a power failure leaves
			victim = c.nodes[rng.IntN(3)]
		}
		t.Logf("round %d, %d events: node %s, the owner: %v, all are killed: %v", round, at, victim.id(), victim == owner, all)
		if all {
			c.killAll(disks)
			c.anyOrder(rng)
			continue
		}
		if disks[victim] == nil {
			disks[victim] = victim.backup(false)
		}
		victim.kill(disks[victim])
		time.Sleep(time.Duration(rng.IntN(6000)) * time.Millisecond)
		victim.back()
	}
	count()
	m := c.settled(d.Entity, standbys)
	if r := c.verifyChain(m, d.Entity); r.Outputs != at {
		t.Errorf("the chain has %d outputs of %d", r.Outputs, at)
	}
}

// anyOrder starts all nodes in an order, and at moments, of their own.
func (c *testCluster) anyOrder(rng *rand.Rand) {
	order := slices.Clone(c.nodes)
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, m := range order {
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		m.back()
	}
}

// settled waits until the daemon serves with so many standbys in sync, and returns its
// owner.
func (c *testCluster) settled(id identity.EntityID, standbys int) *member {
	c.t.Helper()
	for range 40 {
		time.Sleep(5 * time.Second)
		m, _ := c.serving(id)
		dir, err := m.rt.Cluster()
		if err != nil {
			c.t.Fatal(err)
		}
		if e, ok := dir.Look(id); ok && e.Owner == m.id() && len(e.Standbys) == standbys {
			return m
		}
	}
	for _, m := range c.nodes {
		i, err := m.rt.Daemons().Inspect(id)
		dir, _ := m.rt.Cluster()
		e, _ := dir.Look(id)
		c.t.Logf("node %s: %s (%s) %v; the directory: %+v; held: %+v", m.id(), i.State, i.Reason, err, e.Daemon, m.rt.Unconfirmed().List())
	}
	c.t.Fatal("the daemon does not come to have its standbys")
	return nil
}
