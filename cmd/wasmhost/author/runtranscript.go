package author

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"

	"wasmhost.example/api/server/problem"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// transcriptLine is a line of a transcript: how a daemon is spawned, which only the
// first line may say, or one event with what the daemon answers to it.
type transcriptLine struct {
	Config *string `json:"config,omitempty"` // a spawn; Time is when
	eventLine
	Outputs []datum          `json:"outputs,omitempty"`
	Effects []expectedEffect `json:"effects,omitempty"`
	Fails   *failure         `json:"fails,omitempty"`
}

// datum is bytes: as text where they are UTF-8, in base64 otherwise.
type datum struct {
	Text    *string `json:"text,omitempty"`
	Payload []byte  `json:"payload,omitempty"`
}

// expectedEffect is an effect. Where a timer's number or time is not set it is not
// compared.
type expectedEffect struct {
	Effect  string     `json:"effect"` // publish, send, timer or cancel
	Channel string     `json:"channel,omitempty"`
	To      string     `json:"to,omitempty"`
	Timer   uint64     `json:"timer,omitempty"`
	At      *time.Time `json:"at,omitempty"`
	datum
}

// failure is why an event fails. Fields that are not set are not compared.
type failure struct {
	Problem string `json:"problem,omitempty"` // as everywhere: guest-failed, limit-exceeded
	Code    int32  `json:"code,omitempty"`    // the guest's
	Text    string `json:"text,omitempty"`
}

// transcriptBegin is when a daemon is spawned, and its first event recorded, where a
// transcript does not say: a replay never reads the clock.
var transcriptBegin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// errDiffers says that a daemon answers otherwise than the transcript.
var errDiffers = errors.New("the daemon answers otherwise than the transcript says")

// parseTranscript reads all of a transcript.
func parseTranscript(in io.Reader) ([]transcriptLine, error) {
	lines := []transcriptLine{}
	for next := cli.LineReader(in); ; {
		b, err := next()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}

		var l transcriptLine
		if err := canon.UnmarshalJSON(b, &l); err != nil {
			return nil, fmt.Errorf("line %d: not a line of a transcript: %w", len(lines)+1, err)
		}
		if err := l.check(len(lines) == 0); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}

		lines = append(lines, l)
	}
}

func (l *transcriptLine) check(first bool) error {
	if l.Config != nil {
		switch {
		case !first:
			return errors.New(`only the first line has "config"`)
		case l.Text != nil || l.Payload != nil || l.Kind != "" || l.Sender != "" || l.Channel != "" || l.Outputs != nil || l.Effects != nil || l.Fails != nil:
			return errors.New(`a line with "config" has a "time" and nothing else`)
		case l.Time != nil && l.Time.UnixNano() <= 0:
			return fmt.Errorf("%v is before 1970", l.Time)
		}
		return nil
	}

	if l.Fails != nil && (l.Outputs != nil || l.Effects != nil) {
		return errors.New(`an event that "fails" has no outputs and no effects`)
	}

	for _, o := range l.Outputs {
		if (o.Text == nil) == (o.Payload == nil) {
			return errors.New(`an output has one of "text" and "payload"`)
		}
	}

	for _, e := range l.Effects {
		if (e.Text == nil) == (e.Payload == nil) && e.Effect != "cancel" {
			return errors.New(`an effect has one of "text" and "payload"`)
		}
	}

	_, err := l.happening(1)
	return err
}

// transcribed is the line of an event and of what came of it.
func transcribed(h happening, outputs [][]byte, effects []effectLine, err error) *transcriptLine {
	at, what := time.Unix(0, h.at).UTC(), datumOf(h.Payload)
	l := &transcriptLine{eventLine: eventLine{Text: what.Text, Payload: what.Payload, Channel: h.Channel, Time: &at}}
	for name, kind := range eventKinds {
		if kind == h.Kind && kind != daemon.EventDirect {
			l.Kind = name
		}
	}

	if h.Kind == daemon.EventDaemon || h.Kind == daemon.EventChannel && h.Sender != (identity.EntityID{}) {
		l.Sender = h.Sender.String()
	}

	if err != nil {
		l.Fails = &failure{Problem: problem.Of(err).Code, Text: err.Error()}
		if fault := (*daemon.GuestError)(nil); errors.As(err, &fault) {
			l.Fails.Code, l.Fails.Text = fault.Code, fault.Text
		}
		return l
	}

	for _, b := range outputs {
		l.Outputs = append(l.Outputs, datumOf(b))
	}

	for _, e := range effects {
		x := expectedEffect{Effect: e.Effect, Channel: e.Channel, To: e.To, Timer: e.Timer, At: e.At}
		if e.payload != nil {
			x.datum = datumOf(e.Payload)
		}
		l.Effects = append(l.Effects, x)
	}

	return l
}

func datumOf(b []byte) datum {
	if len(b) > 0 && !utf8.Valid(b) {
		return datum{Payload: b}
	}
	text := string(b)
	return datum{Text: &text}
}

func (d datum) bytes() []byte {
	if d.Text != nil {
		return []byte(*d.Text)
	}
	return d.Payload
}

func (d datum) equal(other datum) bool { return bytes.Equal(d.bytes(), other.bytes()) }

// allows reports whether got, which was transcribed, is what the line expects.
func (l *transcriptLine) allows(got *transcriptLine) bool {
	if l.Kind == "timer" { // what is not set is not compared
		what, is := datum{l.Text, l.Payload}, datum{got.Text, got.Payload}
		if (l.Text != nil || l.Payload != nil) && !what.equal(is) || l.Time != nil && !l.Time.Equal(*got.Time) {
			return false
		}
	}

	if l.Fails != nil || got.Fails != nil {
		return l.Fails != nil && got.Fails != nil && l.Fails.allows(got.Fails)
	}
	return slices.EqualFunc(l.Outputs, got.Outputs, datum.equal) && slices.EqualFunc(l.Effects, got.Effects, expectedEffect.allows)
}

func (f *failure) allows(got *failure) bool {
	return (f.Problem == "" || f.Problem == got.Problem) && (f.Code == 0 || f.Code == got.Code) && (f.Text == "" || f.Text == got.Text)
}

func (e expectedEffect) allows(got expectedEffect) bool {
	return e.Effect == got.Effect && e.Channel == got.Channel && e.To == got.To && e.equal(got.datum) &&
		(e.Timer == 0 || e.Timer == got.Timer) && (e.At == nil || got.At != nil && e.At.Equal(*got.At))
}

func (l *transcriptLine) String() string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return err.Error()
	}
	return string(bytes.TrimSuffix(out.Bytes(), []byte("\n")))
}
