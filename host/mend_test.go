package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
)

// drifting is a counter whose program changed: from some event on it counts
// otherwise.
type drifting struct {
	native
	from, by int
}

func (d *drifting) Process(c *daemon.Call, p []byte) ([][]byte, error) {
	if d.by != 0 && d.count+1 == d.from {
		d.count += d.by
	}
	return d.native.Process(c, p)
}

// A daemon whose replay differs is brought back as its operator chooses, with
// what that costs in its chain, over restarts and a second time.
func TestMending(t *testing.T) {
	for _, how := range []chain.Mend{chain.MendRetry, chain.MendSkip, chain.MendRollback} {
		t.Run(how.String(), func(t *testing.T) {
			key, sender, dir := newKey(t), newKey(t).ID(), t.TempDir()
			fs := vfs.NewCrashableMem()
			by := 0
			var r *host.Runtime
			var s *store.Store
			begin := func() {
				t.Helper()
				s = openStore(t, dir, fs)
				var err error
				if r, err = host.New(ctx, host.Options{Node: key, Store: s, Limits: daemon.Limits{SnapshotEvents: 4}}); err != nil {
					t.Fatal(err)
				}
				f := daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &drifting{from: 6, by: by}, nil })
				if err := errors.Join(r.RegisterFactory("n", f), r.Start(ctx)); err != nil {
					t.Fatal(err)
				}
			}
			crash := func() {
				t.Helper()
				left := fs.CrashClone(vfs.CrashCloneCfg{})
				if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
					t.Fatal(err)
				}
				fs = left
				begin()
			}
			begin()
			d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
			if err != nil {
				t.Fatal(err)
			}
			send := func(n uint64) (string, error) {
				res, err := r.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
				if err != nil || len(res.Outputs) != 1 {
					return "", err
				}
				return fmt.Sprintf("%s at %d", res.Outputs[0].Payload, res.Outputs[0].Link.Sequence), nil
			}
			for n := uint64(1); n <= 7; n++ {
				if _, err := send(n); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := r.MendDaemon(ctx, d.Entity, how); !errors.Is(err, host.ErrNotFailed) {
				t.Errorf("a daemon that is well: %v", err)
			}
			by = 100
			crash()
			if i := stateOf(t, r, d); i.State != "diverged" || !strings.Contains(i.Reason, `recorded are 1 outputs "6", the replay gives 1 outputs "106"`) {
				t.Fatalf("%+v", i)
			}
			want := "8 at 8"
			switch how {
			case chain.MendRetry:
				if _, err := r.MendDaemon(ctx, d.Entity, how); !errors.Is(err, daemon.ErrDiverged) || stateOf(t, r, d).State != "diverged" {
					t.Fatalf("nothing has changed, and %v", err)
				}
				by = 0
			case chain.MendSkip:
				want = "108 at 8"
			case chain.MendRollback:
				want, by = "6 at 6", 0
			}
			fact, err := r.MendDaemon(ctx, d.Entity, how)
			if err != nil {
				t.Fatal(err)
			}
			check := func(next uint64, want string) {
				t.Helper()
				if got, err := send(next); err != nil || got != want {
					t.Errorf("event %d is answered with %q, %v; want %q", next, got, err, want)
				}
				var file bytes.Buffer
				if err := r.Outputs().Export(ctx, d.Entity, &file); err != nil {
					t.Fatal(err)
				}
				rep, err := chain.Verify(&file)
				if err != nil || how == chain.MendRetry && len(rep.Mended) != 0 || how != chain.MendRetry && (len(rep.Mended) != 1 || rep.Mended[0] != fact || rep.Epoch != 2) {
					t.Errorf("%+v, %v; want %+v", rep, err, fact)
				}
			}
			next := uint64(8)
			switch how {
			case chain.MendSkip:
				if fact.Count != 2 || fact.After != 7 || fact.Epoch != 2 {
					t.Errorf("%+v", fact)
				}
				if got, err := send(6); err != nil || got != "6 at 6" {
					t.Errorf("what was acknowledged: %q, %v", got, err)
				}
			case chain.MendRollback:
				if fact.Count != 3 || fact.After != 4 || fact.Sequence != 7 || fact.Epoch != 2 {
					t.Errorf("%+v", fact)
				}
				if got, err := send(5); err != nil || got != "5 at 5" {
					t.Errorf("a dropped event, sent again: %q, %v", got, err)
				}
				next = 6
			}
			check(next, want)
			crash()
			if i := stateOf(t, r, d); i.State != "running" {
				t.Fatalf("after a restart: %+v", i)
			}
			var count, at int
			if _, err := fmt.Sscanf(want, "%d at %d", &count, &at); err != nil {
				t.Fatal(err)
			}
			check(next+1, fmt.Sprintf("%d at %d", count+1, at+1))
			if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}
