package store

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logOf is the log of an engine that took some records, with its number.
func logOf(t testing.TB, records int) ([]byte, uint32) {
	t.Helper()
	mem, dir := vfs.NewMem(), t.TempDir()
	s, err := Open(Options{Dir: dir, FS: mem})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range records {
		b := &Batch{}
		b.Append(ID{1}, uint64(i), []byte(strings.Repeat("x", 100)))
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	names, err := mem.List(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	var last string
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			last = name
		}
	}
	number, err := strconv.ParseUint(strings.TrimSuffix(last, ".log"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	b, err := readWhole(mem, mem.PathJoin(s.dir, last))
	if err != nil {
		t.Fatal(err)
	}
	return b, uint32(number)
}

// The engine's log is of the form that damage reads: each chunk holds, and a
// flip in any but the last is told from a torn end.
func TestLogsAreOfTheFormThatIsChecked(t *testing.T) {
	b, number := logOf(t, 600) // of three blocks
	chunks, last, said := 0, 0, uint64(0)
	for pos := 0; pos+logHeader <= len(b); {
		if left := logBlock - pos%logBlock; left < logHeader {
			pos += left
			continue
		}
		end, synced, ok := chunkAt(b, pos, number)
		if !ok {
			break
		}
		if synced > uint64(pos) {
			t.Errorf("the chunk at %d says that %d bytes were synced", pos, synced)
		}
		chunks++
		last, pos, said = pos, end, max(said, synced)
	}
	if chunks < 600 {
		t.Fatalf("%d chunks of 600 records", chunks)
	}
	if said < uint64(last)/4 {
		t.Fatalf("the log says of %d bytes of %d that they were synced", said, last)
	}
	if at, synced := damage(b, number); synced > at {
		t.Errorf("a whole log is damaged at %d, and was synced up to %d", at, synced)
	}
	for pos := 0; pos < min(int(said), last); pos += 211 { // of what is behind, no commit says that it was synced
		b[pos] ^= 4
		if at, synced := damage(b, number); at > uint64(pos) || synced <= at {
			left := logBlock - pos%logBlock
			if left >= logHeader { // else it is in what is empty
				t.Errorf("a flip at %d is seen at %d, synced up to %d", pos, at, synced)
			}
		}
		b[pos] ^= 4
	}
	for _, cut := range []int{last + 1, last + 30, len(b) / 2} { // a torn end is none
		if at, synced := damage(b[:cut], number); synced > at {
			t.Errorf("cut at %d: damaged at %d, synced up to %d", cut, at, synced)
		}
	}
}

// A manifest that is shorter than it was, or not there, is damage.
func TestManifestThatLostItsEnd(t *testing.T) {
	mem, dir := vfs.NewMem(), t.TempDir()
	for range 3 {
		s, err := Open(Options{Dir: dir, FS: mem})
		if err != nil {
			t.Fatal(err)
		}
		if err := put(s, "k", 100); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	db := filepath.Join(dir, "db")
	if err := checkManifest(mem, db); err != nil {
		t.Fatal(err)
	}
	text, err := readWhole(mem, mem.PathJoin(db, sumName))
	if err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(string(text), " ")
	path := mem.PathJoin(db, name)
	whole, err := readWhole(mem, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range [][]byte{whole[:len(whole)/3], nil} {
		rewrite(t, mem, path, left)
		if _, err := Open(Options{Dir: dir, FS: mem}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%d of %d bytes: %v", len(left), len(whole), err)
		}
	}
	if err := mem.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := checkManifest(mem, db); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("no manifest: %v", err)
	}
}

func rewrite(t testing.TB, fs vfs.FS, path string, b []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(slices.Clone(b)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func FuzzLog(f *testing.F) {
	b, number := logOf(f, 3)
	f.Add(b, number)
	f.Add(b[:40], number)
	f.Add([]byte{}, uint32(0))
	huge := append([]byte(nil), b...)
	binary.LittleEndian.PutUint16(huge[4:], 0xffff)
	f.Add(huge, number)
	f.Fuzz(func(t *testing.T, b []byte, number uint32) {
		at, synced := damage(b, number)
		if at > uint64(len(b))+logHeader || synced > uint64(len(b)) {
			t.Errorf("%d bytes: damaged at %d, synced up to %d", len(b), at, synced)
		}
	})
}

func FuzzManifestSum(f *testing.F) {
	f.Add([]byte("MANIFEST-000001 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"))
	f.Add([]byte("MANIFEST-000001 -1 00\n"))
	f.Add([]byte("MANIFEST-../x 3 00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		mem := vfs.NewMem()
		if err := mem.MkdirAll("d", os.ModePerm); err != nil {
			t.Fatal(err)
		}
		rewrite(t, mem, "d/MANIFEST-000001", []byte("abc"))
		rewrite(t, mem, "d/"+sumName, text)
		good := string(text) == "MANIFEST-000001 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
		if err := checkManifest(mem, "d"); (err == nil) != good && !strings.HasPrefix(string(text), "MANIFEST-000001 ") {
			t.Errorf("%q: %v", text, err)
		}
	})
}
