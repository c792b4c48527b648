package host_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// unpack writes a .tgz into a directory.
func unpack(t *testing.T, file, dir string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var b []byte
			if b, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// writeData is for whoever changes the format: the directory is then committed.
var writeData = flag.Bool("write-data", false, "write the data directory of the present version into testdata/data")

// zeros is native, with a state that is a file of its own.
type zeros struct{ native }

func (z *zeros) Snapshot(c *daemon.Call) ([]byte, error) {
	s, err := z.native.Snapshot(c)
	return append(append(s, ' '), make([]byte, 2<<20)...), err
}

func goldenHost(t *testing.T, dir string, key *identity.KeyPair, log io.Writer) (*host.Runtime, *store.Store) {
	t.Helper()
	s := openStore(t, dir, nil)
	r, err := host.New(ctx, host.Options{Node: key, Store: s, Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err == nil {
		err = r.RegisterFactory("zeros", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &zeros{}, nil }))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

// writeGolden makes the data directory that TestGoldenDataDirectories reads, and
// copies it while the host runs, as a crash leaves it.
func writeGolden(t *testing.T, to string) {
	dir, left, key := t.TempDir(), t.TempDir(), newKey(t)
	if err := identity.WriteKeyFile(filepath.Join(dir, "node.key"), key, nil); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r, s := goldenHost(t, dir, key, &log)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"counter", "echo", "reminder", "wordcount"} {
		if _, err := r.Kinds().Push(ctx, kind, guest(t, "c/"+kind+".wasm")); err != nil {
			t.Fatal(err)
		}
	}
	ids := make(map[string]identity.EntityID)
	spawn := func(req daemon.SpawnRequest) {
		d, err := r.Spawn(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		ids[req.Name] = d.Entity
	}
	send := func(name, payload string) {
		if _, err := r.Deliver(ctx, ids[name], daemon.Event{Payload: []byte(payload)}); (err != nil) != (payload == "fail") {
			t.Fatal(err)
		}
	}
	often := daemon.Limits{SnapshotEvents: 2}
	forty := []byte(`{"start":40}`)
	spawn(daemon.SpawnRequest{Kind: "counter", Name: "c1", Config: forty})
	spawn(daemon.SpawnRequest{Kind: "counter", Name: "c2", Config: forty})
	spawn(daemon.SpawnRequest{Kind: "echo", Name: "e1"})
	spawn(daemon.SpawnRequest{Kind: "echo", Name: "gone"})
	spawn(daemon.SpawnRequest{Kind: "wordcount", Name: "w1", Limits: often})
	spawn(daemon.SpawnRequest{Kind: "reminder", Name: "r1", Grants: effect.Grants{SendAny: true}})
	spawn(daemon.SpawnRequest{Kind: "zeros", Name: "z1", Limits: often})
	for _, step := range strings.Fields("c1:x c1:x c1:fail c2:x c2:x e1:hi z1:x z1:x z1:x z1:x z1:x") {
		name, payload, _ := strings.Cut(step, ":")
		send(name, payload)
	}
	for i := range 9 {
		send("w1", strings.Repeat(fmt.Sprintf("w%d ", i), 200))
	}
	send("r1", "3650d tea")
	if err := r.Stop(ctx, ids["gone"]); err != nil {
		t.Fatal(err)
	}
	if !r.Passivate(ids["c2"]) {
		t.Fatal("c2 stays active")
	}
	send("c2", "x")
	if err := s.Commit(&store.Batch{}); err != nil { // what was submitted before is on disk
		t.Fatal(err)
	}
	if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := errors.Join(w.AddFS(os.DirFS(left)), w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A data directory that a program of an earlier version left, as a crash left
// it, is read for ever: testdata/data has one of each version. Counters c1 and
// c2 began at 40 and had 2 events, c1 one more that failed, c2 a third after it
// was passive; echo e1 had one; gone was stopped. Those from version 3 on have
// deltas. From version 4 on a timer of reminder r1 waits, and z1, which counted to
// 5, has a state that is a file.
func TestGoldenDataDirectories(t *testing.T) {
	if *writeData {
		writeGolden(t, filepath.Join("testdata", "data", "version-5.tgz"))
	}
	for version, daemons := range map[int]int{2: 3, 3: 3, 4: 6, 5: 6} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, filepath.Join("testdata", "data", fmt.Sprintf("version-%d.tgz", version)), dir)
			key, err := identity.ReadKeyFile(filepath.Join(dir, "node.key"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 { // the second time it is of the present version
				var log bytes.Buffer
				r, s := goldenHost(t, dir, key, &log)
				deltas := 0
				if err := s.Scan(store.Deltas, func(_, _ []byte) error { deltas++; return nil }); err != nil || deltas == 0 && version > 2 && round == 0 {
					t.Errorf("%d deltas, %v", deltas, err)
				}
				if err := r.Start(ctx); err != nil {
					t.Fatal(err)
				}
				if n := r.DaemonCount(); n != daemons {
					t.Errorf("%d daemons", n)
				}
				answers := map[string]string{"c1": fmt.Sprint(43 + round), "c2": fmt.Sprint(44 + round), "e1": "hi"}
				if version > 3 {
					answers["z1"] = fmt.Sprint(6 + round)
					goldenTimer(t, r)
				}
				for name, want := range answers {
					id, err := r.Daemons().Resolve(name)
					if err != nil {
						t.Fatal(err)
					}
					res, err := r.Deliver(ctx, id, daemon.Event{Payload: []byte("hi")})
					if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want {
						t.Errorf("%s answers %+v, %v; want %s", name, res, err, want)
					}
					var file bytes.Buffer
					if err := r.Outputs().Export(ctx, id, &file); err != nil {
						t.Fatal(err)
					}
					if _, err := chain.Verify(&file); err != nil {
						t.Errorf("the chain of %s: %v", name, err)
					}
				}
				if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil || log.Len() > 0 {
					t.Errorf("%v\n%s", err, log.String())
				}
			}
		})
	}
}

// goldenTimer checks the timer of r1.
func goldenTimer(t *testing.T, r *host.Runtime) {
	t.Helper()
	id, err := r.Daemons().Resolve("r1")
	if err != nil {
		t.Fatal(err)
	}
	e, err := r.Daemons().Effects(id)
	if err != nil || len(e.Timers) != 1 || !e.Grants.SendAny || !strings.HasSuffix(string(e.Timers[0].Payload), "tea") {
		t.Errorf("the effects of r1: %+v, %v", e, err)
	}
}
