package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"wasmhost.example/host/directory"
)

// TestEngine holds etcd to what a directory.Engine is to do.
func TestEngine(t *testing.T) {
	secret, err := NewSecret()
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, Config{Dir: filepath.Join(t.TempDir(), "etcd"), Name: "a", Addr: freeAddr(t), Secret: secret})
	e, foreign := NewEngine(m.Client(), "c"), NewEngine(m.Client(), "other")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	put := func(key, value string, old int64) int64 {
		t.Helper()
		at, err := e.Commit(ctx, []directory.Condition{{Key: key, Revision: old}}, []directory.Write{{Key: key, Value: []byte(value)}})
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	one, two := put("a/1", "x", 0), put("a/2", "", 0)
	put("b/1", "z", 0)
	if _, err := foreign.Commit(ctx, nil, []directory.Write{{Key: "a/3", Value: []byte("of another cluster")}}); err != nil {
		t.Fatal(err)
	}
	for name, conditions := range map[string][]directory.Condition{"there already": {{Key: "a/1"}}, "an older one": {{Key: "a/1", Revision: one + 1}}, "one of two": {{Key: "a/1", Revision: one}, {Key: "a/9", Revision: 1}}} {
		if _, err := e.Commit(ctx, conditions, []directory.Write{{Key: "a/1", Value: []byte("no")}, {Key: "a/8", Value: []byte("no")}}); !errors.Is(err, directory.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if v, at, err := e.Get(ctx, "a/1"); string(v) != "x" || at != one || err != nil {
		t.Errorf("%q at %d, %v", v, at, err)
	}
	if v, at, err := e.Get(ctx, "a/8"); v != nil || at != 0 || err != nil {
		t.Errorf("what was refused is there: %q at %d, %v", v, at, err)
	}
	watching, stop := context.WithCancel(ctx)
	seen := make(chan *directory.Change, 16)
	ended := make(chan error, 1)
	go func() { ended <- e.Watch(watching, "a/", func(c *directory.Change) { seen <- c }) }()
	next := func(key, value string, revision int64) {
		t.Helper()
		select {
		case c := <-seen:
			if key == "" && c == nil {
				return
			}
			if c == nil || c.Key != key || c.Revision != revision || (value == "-") != (c.Value == nil) || c.Value != nil && string(c.Value) != value {
				t.Fatalf("it saw %+v, not %s = %q at %d", c, key, value, revision)
			}
		case <-ctx.Done():
			t.Fatalf("it has not seen %s", key)
		}
	}
	next("a/1", "x", one)
	next("a/2", "", two)
	next("", "", 0)
	three := put("a/1", "y", one)
	next("a/1", "y", three)
	gone, err := e.Commit(ctx, []directory.Condition{{Key: "a/2", Revision: two}}, []directory.Write{{Key: "a/2"}, {Key: "a/4", Value: []byte("w")}})
	if err != nil {
		t.Fatal(err)
	}
	next("a/2", "-", gone)
	next("a/4", "w", gone)
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	late, cancelLate := context.WithCancelCause(ctx)
	cancelLate(errLateTest)
	if _, _, err := e.Get(late, "a/1"); !errors.Is(err, errLateTest) {
		t.Errorf("why it ended is not said: %v", err)
	}
}

var errLateTest = errors.New("too late")
