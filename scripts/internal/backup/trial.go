package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/scripts/internal/fleet"
)

// trial is a node that is backed up, a peer of it, and the nodes that are made of its
// backups.
type trial struct {
	dir, bin string
	mib      int
	length   time.Duration
	endpoint string
	place    string // of the backups
	pauses   bool   // restore nothing

	old, peer *fleet.Node
	nodes     []*fleet.Node // all that were started
	senders   []*fleet.Sender
	stop      chan struct{}
	ended     chan error
	before    []int // events that each sender had acknowledged before the last backup began
}

const (
	daemons  = 4
	maxPause = 50 * time.Millisecond
	tries    = 4 // to measure: other work on the machine makes pauses, too
)

func (t *trial) run(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"two nodes", t.setUp},
		{"backups under load", t.underLoad},
		{"a file, a recipient, and damage", t.files},
		{"an S3 store", t.s3},
		{"restored while the old node is there", t.oldIsThere},
		{"restored while the old node is gone", t.oldIsGone},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if t.pauses && len(t.before) > 0 {
			return nil
		}
	}
	return nil
}

func (t *trial) killAll() {
	for _, n := range t.nodes {
		_ = n.Kill() // it may have ended
	}
}

func (t *trial) node(name string) (*fleet.Node, error) {
	addr, err := fleet.FreeAddr()
	if err != nil {
		return nil, err
	}
	n := fleet.NewNode(t.dir, name, addr, t.bin)
	t.nodes = append(t.nodes, n)
	return n, nil
}

func daemon(i int) string { return "c" + strconv.Itoa(i) }

func (t *trial) setUp(ctx context.Context) (err error) {
	if err := os.WriteFile(filepath.Join(t.dir, "pass"), []byte("correct horse\n"), 0o600); err != nil {
		return err
	}
	if t.old, err = t.node("old"); err != nil {
		return err
	}
	if t.peer, err = t.node("peer"); err != nil {
		return err
	}
	if err := fleet.JoinAll(ctx, []*fleet.Node{t.old, t.peer}); err != nil {
		return err
	}
	wasm, err := os.ReadFile(filepath.Join("testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		return err
	}
	if _, err := t.old.Client.Kinds().Push(ctx, "counter", bytes.NewReader(wasm)); err != nil {
		return err
	}
	for i := range daemons {
		if _, err := t.old.Client.Spawn(ctx, api.Spawn{Kind: "counter", Name: daemon(i)}); err != nil {
			return err
		}
		s, err := fleet.NewSender("s"+strconv.Itoa(i), daemon(i), []*fleet.Node{t.old}, uint64(i))
		if err != nil {
			return err
		}
		s.Rest = time.Millisecond
		t.senders = append(t.senders, s)
	}
	if err := t.fill(ctx); err != nil {
		return err
	}
	t.stop, t.ended = make(chan struct{}), make(chan error, daemons)
	for _, s := range t.senders {
		go func() { t.ended <- s.Run(ctx, t.stop) }()
	}
	return nil
}

// fill gives the node as much as it is to keep, as events of a channel that do not
// compress.
func (t *trial) fill(ctx context.Context) error {
	const size = 1 << 20
	if _, err := t.old.Client.Channels().Create(ctx, api.CreateChannel{Name: "ballast", KeepBytes: int64(t.mib+64) << 20}); err != nil {
		return err
	}
	rng, left := rand.NewChaCha8([32]byte{1}), t.mib
	return t.old.Client.Channels().PublishAll(ctx, "ballast", client.AtNode{}, func() ([]byte, error) {
		if left--; left < 0 {
			return nil, io.EOF
		}
		b := make([]byte, size)
		_, _ = rng.Read(b) // never fails
		return b, nil
	}, func(api.Published) error { return nil })
}

// longest is the longest time that a sender waited while do ran.
func (t *trial) longest(do func() error) (time.Duration, error) {
	for _, s := range t.senders {
		s.Stall()
	}
	err := do()
	var most time.Duration
	for _, s := range t.senders {
		most = max(most, s.Stall())
	}
	return most, err
}

// underLoad compares the longest pause of a sender without backups and with them.
func (t *trial) underLoad(ctx context.Context) error {
	for try := 1; ; try++ {
		without, err := t.longest(func() error {
			fleet.Pause(ctx, t.length)
			return nil
		})
		if err != nil {
			return err
		}
		made, fresh, whole := 0, int64(0), int64(0)
		with, err := t.longest(func() error {
			for began := time.Now(); time.Since(began) < t.length || made < 2; made++ {
				t.before = t.before[:0]
				for _, s := range t.senders {
					t.before = append(t.before, s.Acknowledged())
				}
				var out struct {
					Bytes int64 `json:"bytes"`
					Fresh int64 `json:"new_bytes"`
				}
				if err := t.json(ctx, t.old, &out, "backup", "create", t.place, "--passphrase-file", t.path("pass")); err != nil {
					return err
				}
				fresh, whole = out.Fresh, out.Bytes
			}
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Printf("backup: longest pause of %d senders in %v: %.1f ms without backups, %.1f ms while %d were made; the last has %d MiB, %.1f MiB of them new\n",
			daemons, t.length, ms(without), ms(with), made, whole>>20, float64(fresh)/(1<<20))
		if with <= max(maxPause, 2*without) {
			break
		}
		if try == tries {
			return fmt.Errorf("senders wait for %v while backups are made, %v without", with, without)
		}
	}
	if _, err := t.run1(ctx, t.old, 0, "backup", "verify", t.place); err != nil {
		return err
	}
	for _, s := range t.senders { // the load goes on, and leaves the backup behind
		for n := s.Acknowledged(); s.Acknowledged() < n+20; {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fleet.Pause(ctx, time.Millisecond)
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (t *trial) path(name string) string { return filepath.Join(t.dir, name) }

// run1 runs a command against a node, and fails where its exit code is another.
func (t *trial) run1(ctx context.Context, n *fleet.Node, want int, args ...string) (string, error) {
	c := exec.CommandContext(ctx, t.bin, args...)
	c.Env = append(os.Environ(), "WASMHOST_SOCKET="+filepath.Join(t.dir, n.Name+".sock"))
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	if got := c.ProcessState.ExitCode(); got != want {
		return "", fmt.Errorf("wasmhost %v ends with %d, not %d: %s%s", args, got, want, out.String(), errOut.String())
	}
	return out.String() + errOut.String(), nil
}

func (t *trial) json(ctx context.Context, n *fleet.Node, into any, args ...string) error {
	text, err := t.run1(ctx, n, 0, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(into); err != nil {
		return fmt.Errorf("wasmhost %v says %q: %w", args, text, err)
	}
	return nil
}
