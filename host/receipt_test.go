package host_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

func (n *node) receipts(id identity.EntityID) []*chain.Receipt {
	n.t.Helper()
	all, err := n.Evidence().Receipts(id)
	if err != nil {
		n.t.Fatal(err)
	}
	return all
}

// Both hosts of a move have its receipt, signed by both, and it says what was;
// those of earlier moves travel with the daemon, and outlive restarts.
func TestReceipts(t *testing.T) {
	var net hosttest.Net
	keyA, dirA := newKey(t), t.TempDir()
	a, b, c := start(t, &net, keyA, dirA, nil), start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	a.wantSend(d.Entity, "x", "1")
	rep := a.migrate(d.Entity, b)
	b.wantSend(d.Entity, "x", "2")
	info := b.mustInspect(d.Entity)
	second := b.migrate(d.Entity, c)
	c.wantSend(d.Entity, "x", "3")
	c.migrate(d.Entity, a)
	net.Settle() // who gave a daemon away sends the receipt last
	a.stop()
	a = start(t, &net, keyA, dirA, nil)
	all := a.receipts(d.Entity)
	if len(all) != 3 {
		t.Fatalf("%d receipts on the owner", len(all))
	}
	for k, r := range all {
		f := &r.Facts
		if err := r.Verify(); err != nil {
			t.Errorf("receipt %d: %v", k, err)
		}
		if f.Entity != d.Entity || f.Epoch != uint64(k+2) || f.Sequence != uint64(k+1) || f.Applied != uint64(k+1) || len(f.State) != 32 || len(f.Module) != 32 || f.Kind != "counter" {
			t.Errorf("receipt %d says %+v", k, f)
		}
		if r.Source.Bytes == 0 || r.Source.Downtime == 0 || r.Source.Confirmed < r.Source.Started || r.Target.Activated == 0 {
			t.Errorf("receipt %d says %+v and %+v", k, r.Source, r.Target)
		}
	}
	if f := all[1].Facts; f.From != b.Self() || f.To != c.Self() || f.Head != info.Head {
		t.Errorf("the second says %+v", f)
	}
	digest := func(r *chain.Receipt) chain.Hash {
		sum, err := r.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if rep.Receipt == nil || digest(rep.Receipt) != digest(all[0]) || digest(second.Receipt) != digest(all[1]) {
		t.Error("the reports have other receipts")
	}
	for _, n := range []*node{b, c} {
		for _, r := range n.receipts(d.Entity) {
			if digest(r) != digest(all[r.Facts.Epoch-2]) {
				t.Errorf("node %s has another receipt of the move to epoch %d", n.Self(), r.Facts.Epoch)
			}
		}
	}
	if n := len(b.receipts(d.Entity)); n != 2 {
		t.Errorf("%d receipts on b", n)
	}
}

// Whatever is changed in a receipt is found.
func TestAChangedReceiptIsFound(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	rep := a.migrate(d.Entity, b)
	bytes, err := rep.Receipt.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range bytes {
		for _, change := range []byte{1, 0x80, 0xff} {
			bytes[i] ^= change
			r, err := chain.DecodeReceipt(bytes)
			if err == nil {
				err = r.Verify()
			}
			if !errors.Is(err, chain.ErrBadReceipt) {
				t.Errorf("byte %d changed by %#x: %v", i, change, err)
			}
			bytes[i] ^= change
		}
	}
	for n := range bytes {
		if _, err := chain.DecodeReceipt(bytes[:n]); !errors.Is(err, chain.ErrBadReceipt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := chain.DecodeReceipt(append(bytes, 0)); !errors.Is(err, chain.ErrBadReceipt) {
		t.Errorf("a byte more: %v", err)
	}
}

// A move whose confirmation was lost, or the receipt itself, has one too, signed by
// both.
func TestReceiptsOfMovesThatWereCut(t *testing.T) {
	for _, kind := range []migration.Message{&migration.Release{}, &migration.Done{}, &migration.Receipt{}} {
		cut, again := false, make(chan struct{}, 8) // the latter: a receipt is sent that is not cut
		filter := cutOnce(kind, &cut)
		net := hosttest.Net{Filter: func(from, to identity.NodeID, m migration.Message) bool {
			if !filter(from, to, m) {
				return false
			}
			if _, ok := m.(*migration.Receipt); ok {
				again <- struct{}{}
			}
			return true
		}}
		a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
		a.push("counter", "c/counter.wasm")
		d := a.spawn("counter", "c")
		a.wantSend(d.Entity, "x", "1")
		rep := a.migrate(d.Entity, b)
		<-again
		net.Settle()
		if !cut {
			t.Fatalf("no %T was sent", kind)
		}
		if rep.Receipt == nil || rep.Receipt.Verify() != nil || len(a.receipts(d.Entity)) != 1 {
			t.Errorf("%T cut: the source has %+v", kind, rep.Receipt)
		}
		if all := b.receipts(d.Entity); len(all) != 1 || !all[0].Whole() {
			t.Errorf("%T cut: the target has %d receipts, whole: %v", kind, len(all), len(all) == 1 && all[0].Whole())
		}
	}
}

// cutOnce is a Filter that cuts the connection at the first such message.
func cutOnce(kind migration.Message, done *bool) func(_, _ identity.NodeID, m migration.Message) bool {
	var mu sync.Mutex
	name := fmt.Sprintf("%T", kind)
	return func(_, _ identity.NodeID, m migration.Message) bool {
		mu.Lock()
		defer mu.Unlock()
		if !*done && fmt.Sprintf("%T", m) == name {
			*done = true
			return false
		}
		return true
	}
}

func FuzzDecodeReceipt(f *testing.F) {
	if b, err := os.ReadFile(filepath.Join("testdata", "receipt.cbor")); err == nil {
		f.Add(b)
	}
	f.Add([]byte{0x85})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := chain.DecodeReceipt(b)
		if err != nil {
			if !errors.Is(err, chain.ErrBadReceipt) {
				t.Error(err)
			}
			return
		}
		again, err := r.Encode()
		if err != nil || string(again) != string(b) {
			t.Errorf("%x has another form %x, %v", b, again, err)
		}
		_ = r.Verify() // must not panic; that it fails is of no interest
	})
}

// Of a daemon that moves often the last receipts are kept, on disk and without.
func TestOldReceiptsGo(t *testing.T) {
	for _, change := range []func(*host.Options){nil, func(o *host.Options) { o.Store = nil }} {
		var net hosttest.Net
		a, b := start(t, &net, newKey(t), "", change), start(t, &net, newKey(t), "", change)
		for _, n := range []*node{a, b} { // without a store nobody keeps a module to send
			n.push("counter", "c/counter.wasm")
		}
		d := a.spawn("counter", "c")
		const moves, most = 70, 64
		for range moves / 2 {
			a.migrate(d.Entity, b)
			b.migrate(d.Entity, a)
		}
		all := a.receipts(d.Entity)
		if len(all) != most || all[0].Facts.Epoch != moves+2-most || all[most-1].Facts.Epoch != moves+1 {
			t.Errorf("%d receipts, from epoch %d", len(all), all[0].Facts.Epoch)
		}
	}
}
