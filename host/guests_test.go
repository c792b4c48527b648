package host_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
	"wasmhost.example/host/hosttest"
)

// step is one step of a transcript: testdata/transcripts/README.md.
type step struct {
	Send        string
	Bytes       []byte
	Repeat      int
	Expect      []string
	ExpectBytes [][]byte `json:"expect_bytes"`
	ExpectSame  bool     `json:"expect_same"`
	Code        int32
	Error       string
}

func (s *step) payload() []byte {
	if s.Bytes != nil {
		return s.Bytes
	}
	return []byte(strings.Repeat(s.Send, max(1, s.Repeat)))
}

func (s *step) expected() []string {
	out := s.Expect
	for _, b := range s.ExpectBytes {
		out = append(out, string(b))
	}
	if s.ExpectSame {
		out = append(out, string(s.payload()))
	}
	return out
}

type transcript struct {
	Guest, Config string
	Steps         []step
}

func transcripts(t *testing.T) []transcript {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "transcripts", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	var out []transcript
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var tr transcript
		if err := json.Unmarshal(b, &tr); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, tr)
	}
	return out
}

// Every example guest, in every language, gives the same answers; in one run
// it stays where it is, in the other it is moved to the other node before
// every step, or every so many of a long transcript. In a third it is captured, and another made of it,
// before every step.
func TestGuestsAnswerTheSame(t *testing.T) {
	for _, tr := range transcripts(t) {
		for _, lang := range []string{"c", "rust", "assemblyscript", "go", "zig"} {
			file := filepath.Join(lang, tr.Guest+".wasm")
			if _, err := os.Stat(filepath.Join("..", "testdata", "wasm", file)); err != nil {
				if errors.Is(err, os.ErrNotExist) && (lang == "go" || lang != "c" && lang != "rust" && !slices.Contains([]string{"counter", "echo", "wordcount"}, tr.Guest)) {
					continue // one stock-Go guest is in the tree, the others are built on demand; not every example is in every language
				}
				t.Fatal(err)
			}
			t.Run(lang+"/"+tr.Guest, func(t *testing.T) {
				if lang == "go" && testing.Short() {
					t.Skip("it computes for long, one thing after another")
				}
				t.Parallel()
				tr.run(t, file, false)
				tr.run(t, file, true)
				tr.restore(t, file)
			})
		}
	}
}

func (tr *transcript) run(t *testing.T, file string, move bool) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push(tr.Guest, file)
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: tr.Guest, Config: []byte(tr.Config)})
	if err != nil {
		t.Fatal(err)
	}
	at, other := a, b
	for i := range tr.Steps {
		if move && (len(tr.Steps) < 30 || i%16 == 0) {
			at.migrate(d.Entity, other)
			at, other = other, at
		}
		s := &tr.Steps[i]
		res, err := at.Deliver(ctx, d.Entity, daemon.Event{Payload: s.payload()})
		if s.Code != 0 {
			var fault *daemon.GuestError
			if !errors.As(err, &fault) || fault.Code != s.Code || !strings.Contains(fault.Text, s.Error) {
				t.Errorf("step %d: %v, want code %d and %q", i, err, s.Code, s.Error)
			}
			continue
		}
		var got []string
		for _, o := range res.Outputs {
			got = append(got, string(o.Payload))
		}
		if err != nil || !slices.Equal(got, s.expected()) {
			t.Fatalf("step %d (moved: %v): %q, %v; want %q", i, move, got, err, s.expected())
		}
	}
}

func (tr *transcript) restore(t *testing.T, file string) {
	guests, err := guesttest.NewRunner(ctx, guest(t, file), daemon.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer guests.Close(ctx)

	d, err := guests.Spawn(ctx, []byte(tr.Config), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tr.Steps {
		saved, err := d.Save([]byte(tr.Config))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if d, err = guests.Resume(ctx, saved, nil); err != nil {
			t.Fatal(err)
		}
		s := &tr.Steps[i]
		out, err := d.Send(s.payload(), 0)
		var fault *daemon.GuestError
		if s.Code != 0 {
			if !errors.As(err, &fault) || fault.Code != s.Code || !strings.Contains(fault.Text, s.Error) {
				t.Errorf("step %d: %v, want code %d and %q", i, err, s.Code, s.Error)
			}
			continue
		}
		var got []string
		for _, b := range out {
			got = append(got, string(b))
		}
		if err != nil || !slices.Equal(got, s.expected()) {
			t.Fatalf("step %d, restored: %q, %v; want %q", i, got, err, s.expected())
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// A snapshot of a guest in one language is the state of the same guest in
// another, and malformed state is refused by all of them.
func TestGuestsReadEachOthersState(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	langs := []string{"c", "rust", "assemblyscript", "go", "zig"}
	var want []byte
	for _, lang := range langs {
		a.push("words-"+lang, filepath.Join(lang, "wordcount.wasm"))
		d := a.spawn("words-"+lang, "")
		for _, line := range []string{"to be or not to be", "that is the question"} {
			if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(line)}); err != nil {
				t.Fatal(err)
			}
		}
		s, err := a.Daemons().SnapshotGiven(ctx, d.Entity)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = s.State
		}
		if string(s.State) != string(want) {
			t.Errorf("%s has state %q, c has %q", lang, s.State, want)
		}
	}
}
