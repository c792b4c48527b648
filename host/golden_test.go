package host_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"wasmhost/host"
	"wasmhost/host/store"
	"wasmhost/identity"
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

// A data directory that a program of an earlier version left, as a crash left
// it, is read for ever: testdata/data has one of each version. Counters c1 and
// c2 began at 40 and had 2 events, c1 one more that failed, c2 a third after it
// was passive; echo e1 had one; gone was stopped. That of version 3 has deltas.
func TestGoldenDataDirectories(t *testing.T) {
	for version, c2 := range map[int]int{2: 43, 3: 43} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, filepath.Join("testdata", "data", fmt.Sprintf("version-%d.tgz", version)), dir)
			key, err := identity.ReadKeyFile(filepath.Join(dir, "node.key"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 { // the second time it is of the present version
				s := openStore(t, dir, nil)
				var log bytes.Buffer
				r, err := host.New(ctx, host.Options{Node: key, Store: s, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
				if err != nil {
					t.Fatal(err)
				}
				deltas := 0
				if err := s.Scan(store.Deltas, func(_, _ []byte) error { deltas++; return nil }); err != nil || deltas == 0 && version > 2 && round == 0 {
					t.Errorf("%d deltas, %v", deltas, err)
				}
				if err := r.Start(ctx); err != nil {
					t.Fatal(err)
				}
				if n := r.DaemonCount(); n != 3 {
					t.Errorf("%d daemons", n)
				}
				for name, want := range map[string]string{"c1": fmt.Sprint(43 + round), "c2": fmt.Sprint(c2 + 1 + round), "e1": "hi"} {
					id, err := r.Resolve(name)
					if err != nil {
						t.Fatal(err)
					}
					res, err := r.Deliver(ctx, id, host.Event{Payload: []byte("hi")})
					if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want {
						t.Errorf("%s answers %+v, %v; want %s", name, res, err, want)
					}
					var chain bytes.Buffer
					if err := r.ExportChain(ctx, id, &chain); err != nil {
						t.Fatal(err)
					}
					if _, err := host.VerifyChain(&chain); err != nil {
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
