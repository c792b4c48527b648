package author

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// recorder writes a transcript. A nil one drops it.
type recorder struct {
	out  *bufio.Writer
	pipe *io.PipeWriter
	done chan error // of the file
}

func (r *running) newRecorder() *recorder {
	if r.record == "" {
		return nil
	}

	in, out := io.Pipe()
	rec := &recorder{bufio.NewWriter(out), out, make(chan error, 1)}
	go func() {
		err := r.WriteTo(r.record, in)
		rec.done <- errors.Join(err, in.CloseWithError(err))
	}()

	return rec
}

func (rec *recorder) line(l *transcriptLine) error {
	if rec == nil {
		return nil
	}
	_, err := fmt.Fprintln(rec.out, l)
	return err
}

// close completes the file. After an error, unless it is an interrupt, there is none.
func (rec *recorder) close(interrupted bool, err error) error {
	if rec == nil {
		return nil
	}
	if err != nil && !interrupted {
		rec.pipe.CloseWithError(err)
		<-rec.done // it is the same error
		return nil
	}

	err = errors.Join(rec.out.Flush(), rec.pipe.Close())
	return errors.Join(err, <-rec.done)
}

// begun starts the transcript.
func (r *running) begun(at int64) error {
	if r.record != "" && !utf8.ValidString(r.config) {
		return cli.Usagef("--record: the configuration is not text")
	}
	r.recorder = r.newRecorder()
	when := time.Unix(0, at).UTC()
	return r.recorder.line(&transcriptLine{Config: &r.config, eventLine: eventLine{Time: &when}})
}

// isFailure reports whether an event failed, and not the host.
func isFailure(err error) bool {
	return errors.As(err, new(*daemon.GuestError)) || errors.Is(err, daemon.ErrTooLarge)
}

// errNoTimer says that there is no timer to fire.
var errNoTimer = errors.New("the daemon has no timer")

// deliver has the daemon apply an event; one of kind timer is its timer that is due
// first, and h becomes that.
func (r *running) deliver(h *happening) ([][]byte, error) {
	if h.Kind != daemon.EventTimer {
		return r.daemon.Deliver(h.Event, h.at)
	}

	due, waits := r.daemon.NextTimer()
	if !waits {
		return nil, errNoTimer
	}

	h.Payload, h.at = due.Payload, due.At
	return r.daemon.Fire()
}

// readTranscript reads the transcript of a file.
func readTranscript(a *cli.App, path string) ([]transcriptLine, error) {
	in, err := a.Open(path)
	if err != nil {
		return nil, err
	}

	lines, err := parseTranscript(in)
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, cli.Usagef("%s: %v", path, err)
	}
	return lines, nil
}

// replayed sends the events of a transcript and compares the answers, or with --record
// writes them.
func (r *running) replayed(ctx context.Context, trial *guesttest.Runner) (err error) {
	lines, err := readTranscript(r.App, r.replay)
	if err != nil {
		return err
	}

	at, rest := transcriptBegin.UnixNano(), lines
	if len(lines) > 0 && lines[0].Config != nil {
		rest = lines[1:]
		if r.config != "" {
			return cli.Usagef("%s says the configuration: --config is not for it", r.replay)
		}
		if r.config = *lines[0].Config; lines[0].Time != nil {
			at = lines[0].Time.UnixNano()
		}
	}

	if len(rest) == 0 {
		return cli.Usagef("%s has no events", r.replay)
	}

	var said []string // what the daemon logs in one event
	if r.daemon, err = trial.Spawn(ctx, []byte(r.config), at, func(_ int, text string) { said = append(said, text) }); err != nil {
		return err
	}

	defer func() { err = errors.Join(err, r.daemon.Close()) }()
	if err = r.begun(at); err != nil {
		return err
	}

	differ := 0
	for i := range rest {
		said = said[:0]
		var got *transcriptLine
		if got, at, err = r.again(ctx, &rest[i], at); err != nil {
			err = fmt.Errorf("line %d: %w", len(lines)-len(rest)+i+1, err)
			break
		}
		if err = r.recorder.line(got); err != nil {
			break
		}

		if r.record == "" && !rest[i].allows(got) {
			differ++
			fmt.Fprintf(r.Err, "line %d differs:\n  want %s\n  got  %s\n", len(lines)-len(rest)+i+1, &rest[i], got)
			for _, text := range said {
				fmt.Fprintf(r.Err, "  log  %s\n", cli.OneLine(text))
			}
		}
	}

	if err = errors.Join(err, r.recorder.close(false, err)); errors.Is(err, errDiffers) {
		return cli.ExitWith(api.ExitVerification, err)
	} else if err != nil {
		return err
	}

	if differ > 0 {
		return cli.ExitWith(api.ExitVerification, fmt.Errorf("%w: %d of %d events differ from %s", errDiffers, differ, len(rest), r.replay))
	}
	return r.agreed(len(rest))
}

func (r *running) agreed(events int) error {
	verb := "answered as in"
	if r.record != "" {
		verb = "answered anew from"
	}

	return r.Print(struct {
		Events int `json:"events"`
	}{events}, func(w io.Writer) {
		fmt.Fprintf(w, "%s %s %s\n", counted(events, "event"), verb, r.replay)
	}, nil)
}

// again sends the event of a line. at is when the one before was recorded.
func (r *running) again(ctx context.Context, l *transcriptLine, at int64) (*transcriptLine, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, at, err
	}

	h, err := l.happening(at)
	if err != nil {
		return nil, at, err
	}

	h.at = max(h.at, at)

	if due, waits := r.daemon.NextTimer(); waits && h.Kind != daemon.EventTimer && due.At <= h.at {
		return nil, at, fmt.Errorf(`%w: a timer was due before, at %s, and has no line with "kind":"timer"`, errDiffers, time.Unix(0, due.At).UTC().Format(time.RFC3339Nano))
	}

	outputs, err := r.deliver(&h)
	if errors.Is(err, errNoTimer) {
		err = fmt.Errorf("%w: %w", errDiffers, err)
	}

	if err != nil && !isFailure(err) {
		return nil, at, err
	}

	h.at = max(h.at, at)
	return transcribed(h, outputs, r.effectLines(), err), h.at, nil
}

// counted is a number and what is counted.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
