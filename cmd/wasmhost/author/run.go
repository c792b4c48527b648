// Package author has the verbs for those who write daemons: new, dev, run and check.
package author

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api/server/problem"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// running is one run command.
type running struct {
	*cli.App
	config, state, input string
	record, replay       string // transcripts
	limits               []string
	mayPublish, maySend  []string
	cli.Convention

	daemon         *guesttest.Daemon
	out            *bufio.Writer
	events, failed int
	first          error // of the failed
	recorder       *recorder
}

// Run is the command run.
func Run(a *cli.App) *cobra.Command {
	r := &running{App: a}
	c := &cobra.Command{
		Use: "run FILE", Short: "Run a module on its own: events in, outputs out, no node",
		Long: `Run a module on its own, with no node: each line of standard input is an event, each
output is a line of standard output, the daemon's log goes to standard error. It is
for those who write daemons.

With --input jsonl each line is an object: {"text":"..."} or {"payload":"<base64>"}, and
optionally "time", when the event is recorded (RFC 3339; else the clock is read), "kind"
(direct, channel, gap, timer or daemon), "sender" (an entity id; of kinds channel and
daemon) and "channel" (of kinds channel and gap); one of kind timer fires the timer
that is due first, before its time. With -o jsonl each output is an object {"event":n,"text":"...","payload":"<base64>"}.

--state FILE goes on with the daemon that the file has, and saves it there at the end,
also when interrupted; a file that is not there is a new daemon. A rebuilt module goes
on where both it and the one before have hooks (wasmhost_snapshot, wasmhost_restore).

What the daemon publishes, sends and sets timers for goes nowhere, and is shown: on
standard error, or with -o jsonl as objects {"event":n,"effect":"publish",...}. It may
do all of that here, unless --may-publish or --may-send say less. A timer fires before
the first event that is not before its time; those that are left are shown at the end.

--record FILE writes a transcript: a line of JSON for each event, with its outputs,
effects or failure. --replay FILE sends the events of a transcript at their times
and compares; the exit code is 10 where the daemon answers otherwise. A transcript is a
test that is also written by hand: {"text":"a","outputs":[{"text":"1 a"}]}; an event may
have "fails":{"code":1,"text":"..."}, and no time is that of the event before. A timer
that fires has a line {"kind":"timer"}. Both flags together write the answers anew.

An event that fails leaves no trace; the others go on, and the exit code is 9.`,
		Example: `  seq 3 | wasmhost run testdata/wasm/c/counter.wasm
  wasmhost run counter.wasm --config '{"start":7}' --state counter.state < events.txt
  echo '{"text":"hello","time":"2027-01-01T00:00:00Z"}' | wasmhost run d.wasm --input jsonl -o jsonl
  seq 3 | wasmhost run d.wasm --record test.jsonl && wasmhost run d.wasm --replay test.jsonl`,
		Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			if r.input != "lines" && r.input != "jsonl" {
				return cli.Usagef("--input %q is neither lines nor jsonl", r.input)
			}
			if a.Format == "json" || a.Format == "name" {
				return cli.Usagef("run prints outputs as they come: -o table or -o jsonl")
			}
			if r.replay != "" && c.Flags().Changed("input") {
				return cli.Usagef("--replay reads a transcript: --input is not for it")
			}
			if r.state != "" && r.record+r.replay != "" {
				return cli.Usagef("--state goes on with a daemon: a transcript begins with a new one")
			}

			wasm, err := r.Read(a, args[0])
			if err != nil {
				return err
			}
			return r.module(c.Context(), wasm)
		},
	}

	r.Declare(c)
	c.Flags().StringVar(&r.config, "config", "", "configuration for a new daemon, as the module takes it")
	cli.MayBeEmpty(c, "config")
	c.Flags().StringVar(&r.state, "state", "", "a file that keeps the daemon from run to run")
	c.Flags().StringVar(&r.record, "record", "", "a file to write a transcript to")
	c.Flags().StringVar(&r.replay, "replay", "", "a transcript to compare with, in place of standard input; - reads standard input")
	c.Flags().StringVar(&r.input, "input", "lines", "what a line of standard input is: lines or jsonl")
	c.Flags().StringArrayVar(&r.mayPublish, "may-publish", nil, "CHANNEL, PREFIX/* or *: what it may publish on; default: all")
	c.Flags().StringArrayVar(&r.maySend, "may-send", nil, "entity id, or * for all: whom it may send to; default: all")
	c.Flags().StringArrayVar(&r.limits, "limit", nil, "NAME=VALUE: "+cli.LimitHelp)
	return c
}

func (r *running) module(ctx context.Context, wasm []byte) (err error) {
	limits, err := daemon.ParseLimits(r.limits)
	if err != nil {
		return err
	}

	trial, err := guesttest.NewRunner(ctx, wasm, limits)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, trial.Close(context.WithoutCancel(ctx))) }()
	if trial.Grants, err = r.grants(); err != nil {
		return err
	}
	if r.replay != "" {
		return r.replayed(ctx, trial)
	}

	began := time.Now().UnixNano()
	if r.daemon, err = r.begin(ctx, trial, began); err != nil {
		return err
	}

	defer func() { err = errors.Join(err, r.daemon.Close()) }()
	r.out = bufio.NewWriter(r.Payloads())
	if err = r.begun(began); err == nil {
		err = errors.Join(r.feed(ctx), r.out.Flush())
	}

	if r.state+r.record != "" {
		r.Grace.Ending.Store(true) // an interrupt has the files written
	}

	err = errors.Join(err, r.recorder.close(ctx.Err() != nil, err))
	r.left()
	if r.state != "" && (err == nil || ctx.Err() != nil) {
		err = errors.Join(err, r.save())
	}

	switch {
	case err != nil:
		return err
	case r.failed > 1:
		return fmt.Errorf("%d of %d events failed; the first: %w", r.failed, r.events, r.first)
	}

	return r.first
}

// begin makes the daemon, or that which the file has.
func (r *running) begin(ctx context.Context, trial *guesttest.Runner, now int64) (*guesttest.Daemon, error) {
	if r.state != "" {
		saved, err := os.ReadFile(r.state)
		if err == nil {
			d, err := trial.Resume(ctx, saved, r.log)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.state, err)
			}
			return d, nil
		}

		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}

		fmt.Fprintf(r.Err, "%s is not there: a new daemon\n", r.state)
	}
	return trial.Spawn(ctx, []byte(r.config), now, r.log)
}

func (r *running) save() error {
	saved, err := r.daemon.Save([]byte(r.config))
	if err != nil {
		return err
	}
	return r.WriteTo(r.state, bytes.NewReader(saved))
}

func (r *running) log(level int, text string) {
	names := [...]string{"debug", "info", "warn", "error"}
	fmt.Fprintf(r.Err, "log %s: %s\n", names[min(max(level, 0), len(names)-1)], cli.OneLine(text))
}

// feed sends each line until the input ends or ctx does.
func (r *running) feed(ctx context.Context) error {
	type line struct {
		b   []byte
		err error
	}

	lines := make(chan line)
	go func() { // reading cannot be interrupted
		defer close(lines)
		for next := cli.LineReader(r.In); ; {
			b, err := next()
			select {
			case lines <- line{bytes.Clone(b), err}:
			case <-ctx.Done():
				return
			}

			if err != nil {
				return
			}
		}
	}()

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l := <-lines:
			if errors.Is(l.err, io.EOF) {
				return nil
			}
			if l.err != nil {
				return l.err
			}
			if err := r.event(l.b); err != nil {
				return err
			}
		}
	}
}

// event sends one line.
func (r *running) event(line []byte) error {
	r.events++
	h := happening{Event: daemon.Event{Payload: line}, at: time.Now().UnixNano()}
	if r.input == "jsonl" {
		var err error
		if h, err = parseEvent(line, h.at); err != nil {
			return cli.Usagef("line %d: %v", r.events, err)
		}
	}

	for h.Kind != daemon.EventTimer {
		due, ok := r.daemon.NextTimer()
		if !ok || due.At > h.at {
			break
		}

		timer := happening{Event: daemon.Event{Kind: daemon.EventTimer}}
		outputs, err := r.deliver(&timer)
		if err := r.answered(timer, outputs, err); err != nil {
			return err
		}
	}

	outputs, err := r.deliver(&h)
	if errors.Is(err, errNoTimer) {
		return cli.Usagef("line %d: %v", r.events, err)
	}
	return r.answered(h, outputs, err)
}

// answered shows what came of an event, and records it.
func (r *running) answered(h happening, outputs [][]byte, err error) error {
	if err != nil && !isFailure(err) {
		return fmt.Errorf("event %d: %w", r.events, err)
	}
	if err := r.recorder.line(transcribed(h, outputs, r.effectLines(), err)); err != nil {
		return err
	}

	if err != nil {
		if r.failed++; r.failed == 1 {
			r.first = err
		}
		fmt.Fprintf(r.Err, "event %d: %s (%s)\n", r.events, cli.OneLine(err.Error()), problem.Of(err).Code)
		return nil
	}

	for _, b := range outputs {
		if err := r.output(b); err != nil {
			return err
		}
	}

	if err := r.effects(); err != nil {
		return err
	}
	return cli.FlushIdle(r.out, r.App.Out)
}

func (r *running) output(b []byte) error {
	if r.Format != "jsonl" {
		_, err := fmt.Fprintf(r.out, "%s\n", b)
		return err
	}
	return json.NewEncoder(r.out).Encode(struct {
		Event int `json:"event"`
		payload
	}{r.events, payloadOf(b)})
}
