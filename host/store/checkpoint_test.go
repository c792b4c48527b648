package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// copyOut writes the checkpoint's files to a new data directory.
func copyOut(t *testing.T, c *Checkpoint) string {
	t.Helper()
	dir := t.TempDir()
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		r, err := c.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) != f.Size {
			t.Errorf("%s has %d bytes, the list says %d", f.Path, len(b), f.Size)
		}
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A checkpoint under load holds all that was durable before, and states whose
// records it has, although the store replaces them without a pause.
func TestCheckpointUnderLoad(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	const daemons = 8
	var durable [daemons]atomic.Uint64
	stop := make(chan struct{})
	var work sync.WaitGroup
	for n := range daemons {
		work.Go(func() {
			id := ID{byte(n + 1)}
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				f, err := s.NewState(id)
				if err != nil {
					t.Error(err)
					return
				}
				state := bytes.Repeat([]byte(fmt.Sprintf("%d of %d;", i, n)), 100)
				if _, err := f.Write(state); err != nil {
					t.Error(err)
					return
				}
				var b Batch
				b.Append(id, i, state)
				digest := f.Digest()
				b.PutFile(Snapshots, id[:], append(binary.BigEndian.AppendUint64(nil, i), digest[:]...), f)
				if err := s.Commit(&b); err != nil {
					t.Error(err)
					return
				}
				durable[n].Store(i + 1)
			}
		})
	}
	for n := range daemons {
		for durable[n].Load() < 5 {
			select {
			case <-t.Context().Done():
				return
			default:
			}
		}
	}
	for range 5 {
		var before [daemons]uint64
		for n := range daemons {
			before[n] = durable[n].Load()
		}
		c, err := s.Checkpoint()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Checkpoint(); !errors.Is(err, ErrCheckpointing) {
			t.Errorf("a second checkpoint: got %v, want ErrCheckpointing", err)
		}
		dir := copyOut(t, c)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for n := range daemons {
			checkDaemon(t, got, ID{byte(n + 1)}, before[n])
		}
		if err := got.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	work.Wait()
	if _, err := os.Stat(filepath.Join(s.root(), checkpointName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a closed checkpoint: %v", err)
	}
}

func checkDaemon(t *testing.T, s *Store, id ID, least uint64) {
	t.Helper()
	end, err := s.HistoryEnd(id)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Get(Snapshots, id[:])
	if err != nil {
		t.Fatal(err)
	}
	if end < least || binary.BigEndian.Uint64(v)+1 != end {
		t.Errorf("daemon %d: history ends at %d, its state is of %d; %d records were durable before", id[0], end, binary.BigEndian.Uint64(v)+1, least)
	}
	f, _, err := s.OpenState(id, Digest(v[8:]))
	if err != nil {
		t.Fatalf("daemon %d: %v", id[0], err)
	}
	state, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte(fmt.Sprintf("%d of %d;", end-1, id[0]-1)), 100)
	if !bytes.Equal(state, want) {
		t.Errorf("daemon %d: its state is %.20q, want %.20q", id[0], state, want)
	}
}

// A module that is removed while a checkpoint is in use stays in it, and a crash's
// leftover is removed by Open.
func TestCheckpointKeepsModules(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	d := Digest(sha256.Sum256([]byte("a module")))
	if err := s.PutModule(d, []byte("a module")); err != nil {
		t.Fatal(err)
	}
	c, err := s.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteModule(d); err != nil {
		t.Fatal(err)
	}
	copied, err := Open(Options{Dir: copyOut(t, c)})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := copied.Module(d); err != nil || string(b) != "a module" {
		t.Errorf("the removed module in the checkpoint: got %q, %v", b, err)
	}
	if err := errors.Join(copied.Close(), s.Close()); err != nil { // the checkpoint is left, as by a crash
		t.Fatal(err)
	}
	if s, err = Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, checkpointName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder that a crash left: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A store in memory has nothing to make a checkpoint of.
func TestCheckpointOfMemory(t *testing.T) {
	s, err := Open(Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if _, err := s.Checkpoint(); !errors.Is(err, ErrEphemeral) {
		t.Errorf("got %v, want ErrEphemeral", err)
	}
}
