package store

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readings counts how often a table is opened.
type readings struct {
	vfs.FS
	n *atomic.Int64
}

func (r readings) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	if strings.HasSuffix(name, ".sst") {
		r.n.Add(1)
	}
	return r.FS.Open(name, o...)
}

// damageTables damages all but the footer of each table, which is read when the
// engine is opened.
func damageTables(t *testing.T, dir string) int {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tables {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b[:len(b)-64] {
			b[i] ^= 1
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return len(tables)
}

// The engine looks for what it can't read now and then, not without pause, and
// ends when it is closed.
func TestDamagedTablesCostNoTime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	if err := errors.Join(put(s, "k", 1000), s.Close()); err != nil {
		t.Fatal(err)
	}
	if damageTables(t, dir) == 0 {
		t.Fatal("no tables")
	}
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		var log strings.Builder
		lines := slog.New(slog.NewTextHandler(&log, nil))
		s := open(t, Options{Dir: dir, FS: readings{vfs.Default, &n}, Logger: lines})
		time.Sleep(time.Minute)
		if _, err := s.Get(Meta, []byte("k")); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a damaged table: %v", err)
		}
		if err := s.Close(); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
		if n.Load() > 40 {
			t.Errorf("tables were opened %d times", n.Load())
		}
		if told := strings.Count(log.String(), "damaged data"); told != 1 {
			t.Errorf("told %d times", told)
		}
	})
}
