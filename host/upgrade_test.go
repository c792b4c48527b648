package host_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wasmhost.example/abi"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/identity"
)

// A daemon goes over to another version of its code in the middle of its work,
// and back, across a restart and a migration; its chain proves all of it.
func TestUpgradePassesTheStateOn(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	a, b := start(t, &net, key, dir, nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	n := 0
	count := func(at *node) {
		t.Helper()
		n++
		res, err := at.Deliver(ctx, d.Entity, daemon.Event{Sender: identity.EntityID{9}, Number: uint64(n), Payload: []byte("x")})
		if err != nil || string(res.Outputs[0].Payload) != fmt.Sprint(n) {
			t.Fatalf("event %d: %v, %v", n, res, err)
		}
	}
	count(a)
	count(a)
	a.push("counter", "rust/counter.wasm") // the new version
	count(a)
	if i, _ := a.Daemons().Inspect(d.Entity); i.Module != d.Module {
		t.Error("a push changed the code of a daemon that was there")
	}
	latest, err := a.Kinds().ModuleNamed("counter", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if whole, err := a.Kinds().ModuleNamed("counter", fmt.Sprintf("%x", latest)); err != nil || whole != latest {
		t.Errorf("a whole digest: %x, %v", whole, err)
	}
	if got, err := a.Kinds().ModuleNamed("counter", fmt.Sprintf("%x", latest[:4])); !errors.Is(err, daemon.ErrModuleNotFound) {
		t.Errorf("the beginning of a digest: %x, %v, want ErrModuleNotFound", got, err)
	}
	i, err := a.Upgrade(ctx, d.Entity, latest)
	if err != nil || i.Module != fmt.Sprintf("%x", latest) || i.Sequence != 3 || i.Epoch != d.Epoch {
		t.Fatalf("%+v, %v", i, err)
	}
	count(a)
	a.stop()
	a = start(t, &net, key, dir, nil)
	count(a)
	if res, err := a.Deliver(ctx, d.Entity, daemon.Event{Sender: identity.EntityID{9}, Number: 2, Payload: []byte("x")}); err != nil || !res.Duplicate || string(res.Outputs[0].Payload) != "2" {
		t.Errorf("an event from before the upgrade, again: %+v, %v", res, err)
	}
	a.migrate(d.Entity, b)
	count(b)
	if i, _ := b.Daemons().Inspect(d.Entity); i.Module != fmt.Sprintf("%x", latest) {
		t.Errorf("it moved as module %s", i.Module)
	}
	b.migrate(d.Entity, a)
	if i, err = a.Upgrade(ctx, d.Entity, [32]byte(mustHex(t, d.Module))); err != nil || i.Module != d.Module {
		t.Fatal(i, err)
	}
	count(a)
	if i, err = a.RollBack(ctx, d.Entity); err != nil || i.Module != fmt.Sprintf("%x", latest) {
		t.Fatal(i, err)
	}
	count(a)
	file := a.chain(d.Entity)
	rep, err := chain.Verify(bytes.NewReader(file))
	if err != nil || rep.Outputs != uint64(n) || len(rep.Upgrades) != 3 || len(rep.Moves) != 2 || rep.Upgrades[0].After != 3 || !bytes.Equal(rep.Module, latest[:]) {
		t.Fatalf("%+v, %v", rep, err)
	}
	at := bytes.Index(file, latest[:])
	if at < 0 {
		t.Fatal("the chain file does not name the new module")
	}
	file[at] ^= 1
	if _, err := chain.Verify(bytes.NewReader(file)); err == nil {
		t.Error("a chain with another module holds")
	}
}

// What cannot be upgraded goes on as it was.
func TestUpgradeRefusals(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	for kind, file := range map[string]string{"counter": "c/counter.wasm", "words": "c/wordcount.wasm", "unruly": "c/unruly.wasm", "echo": "c/echo.wasm"} {
		a.push(kind, file)
	}
	digest := func(kind string) [32]byte {
		k, err := a.Kinds().Get(kind)
		if err != nil {
			t.Fatal(err)
		}
		return [32]byte(mustHex(t, k.Digest))
	}
	d := a.spawn("counter", "c1")
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	before := a.mustInspect(d.Entity)
	refused := func(id identity.EntityID, to [32]byte, want error) {
		t.Helper()
		if _, err := a.Upgrade(ctx, id, to); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	refused(d.Entity, digest("counter"), daemon.ErrCannotUpgrade)                    // the same
	refused(d.Entity, digest("unruly"), daemon.ErrCannotUpgrade)                     // no hooks
	refused(d.Entity, digest("echo"), daemon.ErrCannotUpgrade)                       // stateless
	refused(a.spawn("unruly", "u").Entity, digest("words"), daemon.ErrCannotUpgrade) // no hooks on this side
	refused(d.Entity, [32]byte{1}, daemon.ErrModuleNotFound)
	refused(identity.EntityID{1}, digest("words"), daemon.ErrNotFound)
	var fault *daemon.GuestError
	if _, err := a.Upgrade(ctx, d.Entity, digest("words")); !errors.As(err, &fault) || fault.Call != abi.ExportRestore {
		t.Errorf("words took a counter's state: %v", err)
	}
	if _, err := a.RollBack(ctx, d.Entity); !errors.Is(err, daemon.ErrCannotUpgrade) {
		t.Errorf("a rollback of what was not upgraded: %v", err)
	}
	if after := a.mustInspect(d.Entity); after != before {
		t.Errorf("refusals changed the daemon: %+v, %+v", before, after)
	}
	if res, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil || string(res.Outputs[0].Payload) != "2" {
		t.Errorf("%v, %v", res, err)
	}
}

// Numbered events that fail are kept until somebody deals with them, over a
// restart, and can be tried again.
func TestQuarantine(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	a := start(t, &net, key, dir, nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	sender := identity.EntityID{7}
	for n, payload := range []string{"x", "fail", "x", "fail", "x"} {
		_, err := a.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: uint64(n + 1), Payload: []byte(payload)})
		if (err != nil) != (payload == "fail") {
			t.Fatal(err)
		}
	}
	list := func(want int) []daemon.Quarantined {
		t.Helper()
		l, err := a.Quarantine().List(ctx, d.Entity)
		if err != nil || len(l) != want {
			t.Fatalf("%d failed events, want %d: %+v, %v", len(l), want, l, err)
		}
		return l
	}
	l := list(2)
	if l[0].Number != 4 || l[1].Number != 2 || string(l[0].Payload) != "fail" || l[0].Sender != sender || !strings.Contains(l[0].Fault.Error(), "asked to fail") {
		t.Errorf("%+v", l)
	}
	if _, err := a.Quarantine().Retry(ctx, d.Entity, l[0].Index); err == nil {
		t.Error("it fails no more")
	}
	if list(2); a.Quarantine().Skip(ctx, d.Entity, l[0].Index) != nil {
		t.Error("it cannot be skipped")
	}
	if err := a.Quarantine().Skip(ctx, d.Entity, l[0].Index); !errors.Is(err, daemon.ErrNotQuarantined) {
		t.Errorf("skipped twice: %v", err)
	}
	if err := a.Quarantine().Skip(ctx, d.Entity, 0); !errors.Is(err, daemon.ErrNotQuarantined) {
		t.Errorf("the beginning skipped: %v", err)
	}
	a.stop()
	a = start(t, &net, key, dir, nil)
	l = list(1)
	if got := a.mustInspect(d.Entity); got.State != "running" || got.EventsProcessed != 3 {
		t.Errorf("%+v", got)
	}
	if err := a.Quarantine().Skip(ctx, d.Entity, l[0].Index); err != nil {
		t.Fatal(err)
	}
	list(0)
}

// A failed event that succeeds when it is tried again is settled by that.
func TestRetriedEventIsSettled(t *testing.T) {
	var net hosttest.Net
	broken := true
	a := start(t, &net, newKey(t), "", nil)
	if err := a.RegisterFactory("moody", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &moody{broken: &broken}, nil })); err != nil {
		t.Fatal(err)
	}
	d := a.spawn("moody", "m")
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Sender: identity.EntityID{7}, Number: 1, Payload: []byte("hello")}); err == nil {
		t.Fatal("it does not fail")
	}
	l, err := a.Quarantine().List(ctx, d.Entity)
	if err != nil || len(l) != 1 {
		t.Fatal(l, err)
	}
	broken = false
	res, err := a.Quarantine().Retry(ctx, d.Entity, l[0].Index)
	if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != "hello" {
		t.Fatal(res, err)
	}
	if l, err := a.Quarantine().List(ctx, d.Entity); err != nil || len(l) != 0 {
		t.Error(l, err)
	}
	if _, err := a.Quarantine().Retry(ctx, d.Entity, l[0].Index); !errors.Is(err, daemon.ErrNotQuarantined) {
		t.Errorf("tried twice: %v", err)
	}
}

// moody fails while it is broken, and echoes otherwise.
type moody struct{ broken *bool }

func (*moody) Name() string                          { return "moody" }
func (*moody) Requirements() daemon.Requirements     { return daemon.Requirements{} }
func (*moody) Snapshot(*daemon.Call) ([]byte, error) { return nil, nil }
func (*moody) Restore(*daemon.Call, []byte) error    { return nil }
func (m *moody) Process(_ *daemon.Call, b []byte) ([][]byte, error) {
	if *m.broken {
		return nil, errors.New("not today")
	}
	return [][]byte{b}, nil
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (n *node) mustInspect(id identity.EntityID) daemon.Info {
	n.t.Helper()
	i, err := n.Daemons().Inspect(id)
	if err != nil {
		n.t.Fatal(err)
	}
	return i
}
