package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"wasmhost.example/api"
)

// SIGINT and SIGTERM end every command, whatever it waits for: the context of the run is
// cancelled, which ends its requests, and its reads of pipes and terminals (app.open,
// app.in); a command that has not ended after a while is abandoned; a second signal ends
// the program at once.

// How long a command has to end after the first signal. One that ends in order says so
// (app.grace) and has as long as it needs.
const (
	interruptGrace = 500 * time.Millisecond
	ServeGrace     = 5 * time.Second // a node that still starts
)

var errInterrupted = errors.New("interrupted")

// Signalled returns a context that ends with the first SIGINT or SIGTERM. The second ends
// the program.
func Signalled(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(api.ExitInterrupted)
	}()
	return ctx, cancel
}

// Graces is for how long a command may go on after the first signal.
type Graces struct {
	Ending atomic.Bool  // it ends in order
	time   atomic.Int64 // nanoseconds; 0: interruptGrace
	cut    atomic.Bool  // a read was interrupted, whatever became of that
}

// Set gives the command as long after the first signal.
func (g *Graces) Set(d time.Duration) { g.time.Store(int64(d)) }

// await returns what f does, or reports false if ctx ended and f goes on.
func (g *Graces) await(ctx context.Context, f func() int) (code int, ended bool) {
	done := make(chan int, 1)
	go func() { done <- f() }()
	select {
	case code := <-done:
		return code, true
	case <-ctx.Done():
	}

	wait := time.Duration(g.time.Load())
	if wait == 0 {
		wait = interruptGrace
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case code := <-done:
		return code, true
	case <-timer.C:
	}
	if g.Ending.Load() {
		return <-done, true
	}
	return 0, false
}

// interruptible is a reader whose Read returns when ctx ends. The read below it may go
// on: what that returns is lost.
type interruptible struct {
	ctx  context.Context
	r    io.Reader
	what string
	cut  *atomic.Bool // set when ctx ended a Read

	reading atomic.Bool // a Read waits

	buf  []byte
	left []byte        // of buf, to be read
	got  chan readDone // of the read under way; nil: none is
	err  error         // after left
}

type readDone struct {
	n   int
	err error
}

// Reader returns a reader of r whose Read ends with ctx; what names r in the error.
func (g *Graces) Reader(ctx context.Context, r io.Reader, what string) *interruptible {
	return &interruptible{ctx: ctx, r: r, what: what, cut: &g.cut}
}

// Read implements io.Reader.
func (i *interruptible) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(i.left) == 0 {
		if i.err != nil {
			return 0, i.err
		}
		if err := i.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, i.left)
	i.left = i.left[n:]
	return n, nil
}

func (i *interruptible) fill() error {
	if i.got == nil {
		if i.buf == nil {
			i.buf = make([]byte, 64<<10)
		}
		got := make(chan readDone, 1)
		i.got = got
		go func() {
			n, err := i.r.Read(i.buf)
			got <- readDone{n, err}
		}()
	}
	i.reading.Store(true)
	defer i.reading.Store(false)
	select {
	case d := <-i.got:
		i.got, i.left, i.err = nil, i.buf[:d.n], d.err
		return nil
	case <-i.ctx.Done():
		i.cut.Store(true)
		return fmt.Errorf("reading %s: %w: %w", i.what, errInterrupted, i.ctx.Err())
	}
}

// context is the run's.
func (a *App) context() context.Context {
	if a.ctx == nil {
		return context.Background()
	}
	return a.ctx
}

// file is an open file, or what stands for one.
type file struct {
	io.Reader
	io.Closer
}

// Open opens a file to read; - is standard input. Neither opening a FIFO nor reading
// what is no regular file outlasts the run's context.
func (a *App) Open(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(a.In), nil
	}
	if st, err := os.Stat(path); err != nil || st.Mode().IsRegular() || st.IsDir() {
		return os.Open(path)
	}

	type opened struct {
		f   *os.File
		err error
	}
	ctx, done := a.context(), make(chan opened, 1)
	go func() {
		f, err := os.Open(path)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, o.err
		}
		return file{a.Grace.Reader(ctx, o.f, path), o.f}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("opening %s: %w: %w", path, errInterrupted, ctx.Err())
	}
}

// ReadFile is os.ReadFile by way of open.
func (a *App) ReadFile(path string) ([]byte, error) {
	f, err := a.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}
