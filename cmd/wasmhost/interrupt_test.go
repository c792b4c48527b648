package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// stuck is a reader and writer that nothing ever comes of.
type stuck struct {
	once  sync.Once
	begun chan struct{} // closed when somebody waits for it
}

func newStuck() *stuck { return &stuck{begun: make(chan struct{})} }

func (s *stuck) Read([]byte) (int, error)  { return s.wait() }
func (s *stuck) Write([]byte) (int, error) { return s.wait() }
func (s *stuck) wait() (int, error) {
	s.once.Do(func() { close(s.begun) })
	select {}
}

// Whatever a command waits for, an interruption ends it with its exit code.
func TestInterruptionEndsEveryWait(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	for name, c := range map[string]struct {
		args string
		in   bool // it waits for standard input, else for a FIFO
		out  bool // it waits for standard output
	}{
		"event from stdin":         {"send d -", true, false},
		"event from a FIFO":        {"send d -f FIFO", false, false},
		"lines from a FIFO":        {"send d --lines FIFO", false, false},
		"published event":          {"channel pub c -f FIFO", false, false},
		"token":                    {"token inspect -", true, false},
		"token from a FIFO":        {"token inspect FIFO", false, false},
		"join token":               {"node join -", true, false},
		"serve's join token":       {"serve --ephemeral --listen 127.0.0.1:0 --join -", true, false},
		"serve's passphrase":       {"serve --data d --listen 127.0.0.1:0 --passphrase-file FIFO", false, false},
		"module":                   {"kind push k FIFO", false, false},
		"snapshot":                 {"snapshot restore FIFO", false, false},
		"chain":                    {"chain verify -", true, false},
		"chain from a FIFO":        {"chain verify FIFO", false, false},
		"proof":                    {"chain prove --verify -", true, false},
		"receipt":                  {"receipt verify -", true, false},
		"key":                      {"identity show FIFO", false, false},
		"passphrase":               {"identity show FIFO --passphrase-file FIFO", false, false},
		"API token":                {"ps --url https://127.0.0.1:1 --token-file FIFO", false, false},
		"output that nobody reads": {"version", false, true},
		"help that nobody reads":   {"--help", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			place := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			fifo := place + ".fifo" // of its own: another case's opening of it would end its wait
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Skip(err)
			}
			in, out := newStuck(), newStuck()
			var to io.Writer = io.Discard
			if c.out {
				to = out
			}
			args := append([]string{"--socket", place}, strings.Fields(strings.ReplaceAll(c.args, "FIFO", fifo))...)
			var told bytes.Buffer
			code := make(chan int, 1)
			go func() { code <- cli.Execute(ctx, root, args, in, to, &told) }()

			wait := in.begun
			switch {
			case c.out:
				wait = out.begun
			case !c.in:
				wait = nil
			}
			if wait != nil {
				select {
				case <-wait:
				case got := <-code:
					t.Fatalf("it ended with %d before it waited: %s", got, told.String())
				}
			}
			cancel()
			if got := <-code; got != api.ExitInterrupted {
				t.Errorf("exit code %d, want %d: %s", got, api.ExitInterrupted, told.String())
			}
		})
	}
}

func TestInterruptibleReadsAll(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	for name, r := range map[string]io.Reader{
		"whole":      strings.NewReader(text),
		"by bytes":   iotest.OneByteReader(strings.NewReader(text)),
		"with error": iotest.DataErrReader(strings.NewReader(text)),
	} {
		if got, err := io.ReadAll(new(cli.Graces).Reader(t.Context(), r, name)); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	failed := errors.New("failed")
	if _, err := io.ReadAll(new(cli.Graces).Reader(t.Context(), iotest.ErrReader(failed), "x")); !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
}
