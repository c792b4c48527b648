package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmhost.example/identity"
)

// files are the content of a data directory.
type files map[string]string

func (f files) Open(path string) (io.ReadCloser, error) {
	text, ok := f[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (f files) list() []File {
	var out []File
	for _, path := range slices.Sorted(maps.Keys(f)) {
		out = append(out, File{Path: path, Size: int64(len(f[path]))})
	}
	return out
}

// A node is one whose backups are made.
type node struct{ key, recipient *identity.KeyPair }

func newNode(t testing.TB) node {
	t.Helper()
	var n node
	for i, k := range []**identity.KeyPair{&n.key, &n.recipient} {
		var err error
		if *k, err = identity.FromSeed(bytes.Repeat([]byte{byte(i + 1)}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n node) manifest(id, parent string, content files) *Manifest {
	return &Manifest{Version: Version, ID: id, Parent: parent, Created: time.Unix(1_800_000_000, 0).UTC(), NodeID: "aa", NodeName: "a", Files: content.list()}
}

func (n node) seal(m *Manifest) error {
	to, err := n.recipient.SealKey()
	if err != nil {
		return err
	}
	return m.Seal(n.key, to)
}

// back makes a backup in the place, and returns how many bytes it added.
func (n node) back(t testing.TB, to Objects, m *Manifest, content files) int64 {
	t.Helper()
	has := make(map[string]bool)
	if err := Digests(t.Context(), to, func(d string) { has[d] = true }); err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	if err := Send(t.Context(), &stream, content, m, func(d string) bool { return has[d] }, n.seal); err != nil {
		t.Fatal(err)
	}
	var last Progress
	got, err := Create(t.Context(), to, &stream, func(p Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != m.ID || last.Done != last.Whole || last.Files != len(content) {
		t.Errorf("the backup is %s, its progress ended with %+v", got.ID, last)
	}
	return last.Fresh
}

var content = files{"format": "wasmhost-data 5\n", "db/000004.sst": strings.Repeat("table ", 1000), "db/MANIFEST-000001": "manifest", "states/aa-bb": "state", "modules/cc.wasm": "state", "db/empty": ""}

// checkRestored restores the backup and compares each file.
func checkRestored(t *testing.T, at Objects, id string, want files) {
	t.Helper()
	m, err := Read(t.Context(), at, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := Verify(t.Context(), at, m, func(Progress) {}); err != nil {
		t.Errorf("verifying %s: %v", id, err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := Restore(t.Context(), at, m, dir, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	for path, text := range want {
		if b, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(b) != text {
			t.Errorf("restored %s: got %.40q, %v, want %.40q", path, b, err, text)
		}
	}
}

func openDir(t testing.TB, name string) *Dir {
	t.Helper()
	d, err := OpenDir(name, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// Backups in one directory share objects; each is restored as it was.
func TestDirIsIncremental(t *testing.T) {
	n, d := newNode(t), openDir(t, filepath.Join(t.TempDir(), "backups"))
	first := n.back(t, d, n.manifest("20260101T000000Z-00", "", content), content)
	later := maps.Clone(content)
	later["db/000005.sst"] = "another table"
	delete(later, "states/aa-bb")
	added := n.back(t, d, n.manifest("20260102T000000Z-00", "20260101T000000Z-00", later), later)
	if first < 6000 || added != int64(len("another table")) {
		t.Errorf("the first backup added %d bytes, the second %d", first, added)
	}
	checkRestored(t, d, "20260101T000000Z-00", content)
	checkRestored(t, d, "", later)
	list, err := List(t.Context(), d)
	if err != nil || len(list) != 2 || list[0].Manifest == nil || list[1].Manifest.Parent != list[0].ID {
		t.Errorf("the list is %+v, %v", list, err)
	}
}

// A file has one backup, gets its name when it is whole, and replaces none.
func TestArchive(t *testing.T) {
	n, name := newNode(t), filepath.Join(t.TempDir(), "a.backup")
	a, err := NewArchive(name)
	if err != nil {
		t.Fatal(err)
	}
	n.back(t, a, n.manifest("1", "", content), content)
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file before it is whole: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewArchive(name); !errors.Is(err, ErrExists) {
		t.Errorf("over a file: got %v, want ErrExists", err)
	}
	if a, err = OpenArchive(name); err != nil {
		t.Fatal(err)
	}
	checkRestored(t, a, "", content)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	cut, err := NewArchive(name + "2")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(cut.Put(t.Context(), objectName(strings.Repeat("0", 64)), 1, strings.NewReader("x")), cut.Close()); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(name)); err != nil || len(entries) != 1 {
		t.Errorf("a file without a manifest is left: %v, %v", entries, err)
	}
}

// Only the recipient opens the node's key, and a manifest that was changed opens
// nothing.
func TestKeysAreSealed(t *testing.T) {
	n := newNode(t)
	m := n.manifest("1", "", files{})
	if err := n.seal(m); err != nil {
		t.Fatal(err)
	}
	key, err := m.OpenKey(n.recipient)
	if err != nil || key.ID() != n.key.ID() {
		t.Fatalf("the recipient gets %v, %v", key, err)
	}
	if _, err := m.OpenKey(n.key); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: got %v, want ErrWrongKey", err)
	}
	m.Incarnation++
	if _, err := m.OpenKey(n.recipient); err == nil {
		t.Error("a changed manifest gives the key")
	}
}

// What is damaged or missing in a place is named, and never restored.
func TestDamageIsFound(t *testing.T) {
	for _, damage := range []struct {
		name string
		do   func(path string) error
	}{
		{"a bit", func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 1
			return os.WriteFile(path, b, 0o600)
		}},
		{"the end", func(path string) error { return os.Truncate(path, 3) }},
		{"the whole", os.Remove},
	} {
		t.Run(damage.name, func(t *testing.T) {
			n, name := newNode(t), filepath.Join(t.TempDir(), "backups")
			d := openDir(t, name)
			m := n.manifest("1", "", content)
			n.back(t, d, m, content)
			digest := m.Files[0].SHA256 // db/000004.sst
			if err := damage.do(filepath.Join(name, "objects", digest[:2], digest)); err != nil {
				t.Fatal(err)
			}
			err := Verify(t.Context(), d, m, func(Progress) {})
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "db/000004.sst") || !strings.Contains(err.Error(), "1 of 6") {
				t.Errorf("verifying: %v", err)
			}
			if err := Restore(t.Context(), d, m, filepath.Join(t.TempDir(), "data"), func(Progress) {}); !errors.Is(err, ErrDamaged) {
				t.Errorf("restoring: got %v, want ErrDamaged", err)
			}
		})
	}
}

// A stream that is cut anywhere, or sends what does not have its digest, makes no
// backup.
func TestCutStreams(t *testing.T) {
	n := newNode(t)
	var stream bytes.Buffer
	m := n.manifest("1", "", content)
	if err := Send(t.Context(), &stream, content, m, func(string) bool { return false }, n.seal); err != nil {
		t.Fatal(err)
	}
	whole := stream.Bytes()
	end := bytes.LastIndex(whole, []byte(headPrefix)) + 100
	for at := 0; at < end; at += 977 {
		d := openDir(t, filepath.Join(t.TempDir(), "backups"))
		if _, err := Create(t.Context(), d, bytes.NewReader(whole[:at]), func(Progress) {}); !errors.Is(err, ErrCut) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: got %v, want ErrCut", at, err)
		}
		if last, err := Last(t.Context(), d); last != "" || err != nil {
			t.Errorf("cut at %d: the place has the backup %q, %v", at, last, err)
		}
	}
	changed := bytes.Replace(whole, []byte("table table"), []byte("table tab1e"), 1)
	d := openDir(t, filepath.Join(t.TempDir(), "backups"))
	if _, err := Create(t.Context(), d, bytes.NewReader(changed), func(Progress) {}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a changed object: got %v, want ErrDamaged", err)
	}
	if err := Digests(t.Context(), d, func(digest string) {
		if digest == m.Files[0].SHA256 {
			t.Error("a changed object is stored")
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// A place holds nothing under other names than its own, and is not made of a
// directory that has something else.
func TestPlacesAreNarrow(t *testing.T) {
	name := t.TempDir()
	if err := os.WriteFile(filepath.Join(name, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(name, true); !errors.Is(err, ErrNotABackup) {
		t.Errorf("a directory with something else: got %v, want ErrNotABackup", err)
	}
	d := openDir(t, filepath.Join(t.TempDir(), "backups"))
	for _, bad := range []string{"", "x", "objects/../x", "objects/" + strings.Repeat("A", 64), "backups/../../x.manifest", "backups/.x.manifest", "backups/a/b.manifest"} {
		if err := d.Put(t.Context(), bad, 1, strings.NewReader("x")); err == nil {
			t.Errorf("an object %q is stored", bad)
		}
		if _, _, err := d.Open(t.Context(), bad); !errors.Is(err, ErrNotFound) {
			t.Errorf("an object %q: got %v, want ErrNotFound", bad, err)
		}
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(writeEntry(w, "../../etc/passwd", []byte("x")), w.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenArchive(path); !errors.Is(err, ErrNotABackup) {
		t.Errorf("a tar of something else: got %v, want ErrNotABackup", err)
	}
}

// signed is a manifest of the files as its node would sign it, whatever they are.
func (n node) signed(t testing.TB, change func(*Manifest)) []byte {
	t.Helper()
	m := n.manifest("1", "", files{"format": "x"})
	m.Files[0].SHA256 = strings.Repeat("0", 64)
	change(m)
	if err := n.seal(m); err != nil {
		t.Fatal(err)
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Even what a node has signed reaches no file outside of a data directory, and
// keeps the bounds.
func TestManifestsAreNotBelieved(t *testing.T) {
	n := newNode(t)
	zero := strings.Repeat("0", 64)
	if _, err := Parse(n.signed(t, func(*Manifest) {})); err != nil {
		t.Fatalf("a good manifest: %v", err)
	}
	for _, path := range []string{"", "x", "../x", "db/../../x", "db/..", "db/.hidden", "/etc/passwd", "db/a/b", `db\x`, "db/", "node.key", "cluster/state", "db/" + strings.Repeat("a", 300), "db/a\x00"} {
		if _, err := Parse(n.signed(t, func(m *Manifest) { m.Files[0].Path = path })); !errors.Is(err, ErrManifest) {
			t.Errorf("a file %q: got %v, want ErrManifest", path, err)
		}
	}
	for name, change := range map[string]func(*Manifest){
		"a negative size":    func(m *Manifest) { m.Files[0].Size = -1 },
		"a digest":           func(m *Manifest) { m.Files[0].SHA256 = "x" },
		"a file twice":       func(m *Manifest) { m.Files = append(m.Files, m.Files[0]) },
		"sizes that overrun": func(m *Manifest) { m.Files = []File{{"db/a", 1 << 62, zero}, {"db/b", 1 << 62, zero}} },
		"an id":              func(m *Manifest) { m.ID = "../x" },
		"a parent":           func(m *Manifest) { m.Parent = "a/b" },
		"a name":             func(m *Manifest) { m.NodeName = strings.Repeat("x", 256) },
	} {
		if _, err := Parse(n.signed(t, change)); !errors.Is(err, ErrManifest) {
			t.Errorf("%s: got %v, want ErrManifest", name, err)
		}
	}
	if _, err := Parse(n.signed(t, func(m *Manifest) { m.Version = 2 })); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: got %v, want ErrVersion", err)
	}
	forged := n.manifest("1", "", files{})
	if err := n.seal(forged); err != nil {
		t.Fatal(err)
	}
	forged.Files = []File{{"db/a", 1, zero}}
	b, err := forged.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(b); !errors.Is(err, ErrDamaged) {
		t.Errorf("a manifest that its node did not sign: got %v, want ErrDamaged", err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := newNode(t)
	err := Send(ctx, io.Discard, content, n.manifest("1", "", content), func(string) bool { return false }, n.seal)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
}

// FuzzManifest parses what nobody signed: it is refused without a panic, and what is
// taken names no file outside of a data directory and is taken again.
func FuzzManifest(f *testing.F) {
	n := newNode(f)
	good := n.signed(f, func(*Manifest) {})
	_, body, _ := bytes.Cut(good, []byte("\n"))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(body)
	f.Add([]byte(headPrefix + strings.Repeat("0", 64) + "\n{}"))
	f.Add([]byte(`{"version":1,"id":"1","files":[{"path":"../x","size":1,"sha256":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func([]byte) (*Manifest, error){Parse, decode} {
			m, err := parse(b)
			if err != nil {
				if !errors.Is(err, ErrManifest) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrDamaged) {
					t.Errorf("an error without a name: %v", err)
				}
				continue
			}
			for _, file := range m.Files {
				if !filepath.IsLocal(filepath.FromSlash(file.Path)) {
					t.Errorf("it names %q", file.Path)
				}
			}
			text, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if _, body, _ := bytes.Cut(text, []byte("\n")); len(body) > 0 {
				if _, err := decode(body); err != nil {
					t.Errorf("what was read cannot be read again: %v", err)
				}
			}
		}
	})
}
