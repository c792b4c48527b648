//go:build !wasip1

// Package sdktest runs a daemon in go test, under a host that keeps everything in
// memory:
//
//	func TestTally(t *testing.T) {
//		d := sdktest.Spawn(t, func() sdk.Daemon { return &tally{} }, "")
//		if got := d.Send("hello").Texts(); !slices.Equal(got, []string{"1 hello"}) {
//			t.Errorf("it answers %q", got)
//		}
//	}
//
// An event that fails or panics leaves no trace: the daemon is made again, and gets the
// events before once more, without effects. So what it keeps is in what the function
// given to Spawn makes, not in variables of a package. time.Now, math/rand and
// crypto/rand are the machine's here, and the event's under wasmhost: a daemon that is
// tested asks Event.Time and sdk.Random. wasmhost run --replay runs the module itself.
package sdktest

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
)

// Begin is when a daemon is spawned.
var Begin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Self is the identity of each daemon.
var Self = sdk.ID(sha256.Sum256([]byte("sdktest")))

// Effect is what a daemon does to others. Of a published one Channel is set, of one that
// is sent To; of a timer Timer, with At when it is set, zero when it is cancelled; of a
// call To and Call, with At where it has a deadline; of an answer Answers.
type Effect struct {
	Channel string
	To      sdk.ID
	Timer   sdk.TimerID
	Call    sdk.Call // that Reply and End end
	Answers sdk.Call // what is answered: the sequence of the event that asked
	Refused bool     // the answer is a refusal, and Data its reason
	At      time.Time
	Data    string
}

// Answer is what came of one event.
type Answer struct {
	Outputs [][]byte
	Effects []Effect
	Logs    []string
	Err     error // why it failed: nothing else came of it; a panic is a *Panic
}

// Texts returns the outputs as texts.
func (a Answer) Texts() []string {
	texts := make([]string, 0, len(a.Outputs))
	for _, b := range a.Outputs {
		texts = append(texts, string(b))
	}
	return texts
}

// Panic is a daemon's panic.
type Panic struct{ Value any }

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Daemon is a daemon in a test. Its methods must not be called concurrently.
type Daemon struct {
	// DenyPublish and DenySend are what sdk.Publish and sdk.Send are asked: true is
	// sdk.ErrDenied. nil denies nothing.
	DenyPublish func(channel string) bool
	DenySend    func(to sdk.ID) bool

	t       testing.TB
	begin   func() (sdk.Daemon, error) // makes it as it was before past
	past    []call                     // that were applied
	code    sdk.Daemon
	applied uint64
	now     time.Time
	timers  []alarm // by time, then number
	calls   map[sdk.Call]sdk.ID
}

// call is an event, and what the host answered to it.
type call struct {
	data    []byte
	kind    sdk.Kind
	sender  sdk.ID
	channel string
	at      time.Time
	ended   sdk.Call   // of a reply
	status  sdk.Status // of a reply

	sequence uint64
	said     []int32 // what Publish and Send answered, in order
}

type alarm struct {
	id   sdk.TimerID
	at   time.Time
	data []byte
}

// Spawn makes a daemon. make returns a new one each time; config is for its Init. Where
// that fails, so does the test.
func Spawn(t testing.TB, make func() sdk.Daemon, config string) *Daemon {
	t.Helper()
	d := &Daemon{t: t, now: Begin, calls: map[sdk.Call]sdk.ID{}}
	d.begin = func() (sdk.Daemon, error) { return d.spawned(make, []byte(config)) }
	var err error
	if d.code, err = d.begin(); err != nil {
		t.Fatalf("spawning the daemon: %v", err)
	}
	return d
}

// Send has the daemon apply an event that was sent to it.
func (d *Daemon) Send(data string) Answer { return d.apply(call{data: []byte(data)}) }

// From has the daemon apply an event that another daemon sent.
func (d *Daemon) From(sender sdk.ID, data string) Answer {
	return d.apply(call{data: []byte(data), kind: sdk.Peer, sender: sender})
}

// Ask has the daemon apply an event by which another daemon asks. It is answered by an
// Effect, of this event or of a later one, whose Answers is the event's sequence.
func (d *Daemon) Ask(sender sdk.ID, data string) Answer {
	return d.apply(call{data: []byte(data), kind: sdk.Asked, sender: sender})
}

// Reply has the daemon get the answer to a call that it made.
func (d *Daemon) Reply(to sdk.Call, data string) Answer { return d.End(to, sdk.Answered, data) }

// End has the daemon learn how a call ended that it made. A call ends once; another is
// an error of the test.
func (d *Daemon) End(ended sdk.Call, status sdk.Status, data string) Answer {
	d.t.Helper()
	from, ok := d.calls[ended]
	if !ok {
		d.t.Fatalf("the daemon has made no call %d, or it has ended", ended)
	}
	delete(d.calls, ended)
	return d.apply(call{data: []byte(data), kind: sdk.Reply, sender: from, ended: ended, status: status})
}

// Calls returns how many calls of the daemon have not ended.
func (d *Daemon) Calls() int { return len(d.calls) }

// Channel has the daemon apply an event of a channel. A zero publisher is the owner of
// the channel's node.
func (d *Daemon) Channel(channel string, publisher sdk.ID, data string) Answer {
	return d.apply(call{data: []byte(data), kind: sdk.Channel, sender: publisher, channel: channel})
}

// Gap has the daemon apply a gap in a channel: first and last are lost.
func (d *Daemon) Gap(channel string, first, last uint64) Answer {
	data := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, first), last)
	return d.apply(call{data: data, kind: sdk.Gap, channel: channel})
}

// Advance lets time pass, and returns what came of each timer that was due, in order.
func (d *Daemon) Advance(by time.Duration) []Answer {
	var answers []Answer
	until := d.now.Add(by)
	for len(d.timers) > 0 && !d.timers[0].at.After(until) {
		due := d.timers[0]
		d.timers = d.timers[1:]
		if due.at.After(d.now) {
			d.now = due.at
		}
		answers = append(answers, d.apply(call{data: due.data, kind: sdk.Timer, sender: Self}))
	}
	d.now = until
	return answers
}

// querier is a daemon that answers questions.
type querier interface {
	Query(question []byte) ([]byte, error)
}

// Query asks the daemon a question, and undoes what it changed. A question that emits or has
// effects is an error, as under wasmhost.
func (d *Daemon) Query(question string) (string, error) {
	q, ok := d.code.(querier)
	if !ok {
		return "", errors.New("the daemon has no Query")
	}
	h := &host{daemon: d, call: &call{kind: sdk.Query, at: d.now, sequence: d.applied}}
	var answer string
	err := h.run(func() error {
		given, err := q.Query([]byte(question))
		answer = string(given)
		return err
	})
	d.undo()
	switch {
	case err != nil:
		return "", err
	case len(h.answer.Outputs)+len(h.answer.Effects) > 0:
		return "", errors.New("a question neither emits nor acts on others")
	}
	return answer, nil
}

// Now returns the daemon's time.
func (d *Daemon) Now() time.Time { return d.now }

// Timers returns how many timers are set.
func (d *Daemon) Timers() int { return len(d.timers) }

// carrier is a daemon whose state goes over to another.
type carrier interface {
	sdk.Daemon
	Snapshot() ([]byte, error)
	Restore([]byte) error
}

// Upgrade carries the state to a daemon that make makes, by Snapshot and Restore, as
// wasmhost upgrade does. Where that fails, the old one goes on.
func (d *Daemon) Upgrade(make func() sdk.Daemon) error {
	old, ok := d.code.(carrier)
	if !ok {
		return errors.New("the daemon has no Snapshot and Restore")
	}
	h := &host{daemon: d, call: &call{at: d.now, sequence: d.applied}}
	var state []byte
	err := h.run(func() error {
		given, err := old.Snapshot()
		state = append([]byte(nil), given...)
		return err
	})
	if err != nil {
		return err
	}

	fresh, err := restored(h, make, state)
	if err != nil {
		return err
	}
	d.code, d.past = fresh, nil
	d.begin = func() (sdk.Daemon, error) { return restored(h, make, state) }
	return nil
}

func restored(h *host, make func() sdk.Daemon, state []byte) (sdk.Daemon, error) {
	fresh, ok := make().(carrier)
	if !ok {
		return nil, errors.New("the new daemon has no Snapshot and Restore")
	}
	return fresh, h.run(func() error { return fresh.Restore(append([]byte(nil), state...)) })
}

// spawned makes a daemon and gives it its configuration.
func (d *Daemon) spawned(make func() sdk.Daemon, config []byte) (sdk.Daemon, error) {
	fresh := make()
	i, ok := fresh.(sdk.Initer)
	switch {
	case !ok && len(config) > 0:
		return nil, errors.New("the daemon takes no configuration")
	case !ok:
		return fresh, nil
	}
	h := &host{daemon: d, call: &call{at: Begin}}
	return fresh, h.run(func() error { return i.Init(append([]byte(nil), config...)) })
}

// apply runs an event, and undoes it where it fails.
func (d *Daemon) apply(c call) Answer {
	d.t.Helper()
	c.at, c.sequence = d.now, d.applied+1
	h := &host{daemon: d, call: &c, deniesPublish: d.DenyPublish, deniesSend: d.DenySend}
	err := h.run(func() error { return d.code.Process(sdk.Event{Data: append([]byte(nil), c.data...)}) })
	if err != nil {
		d.undo()
		return Answer{Err: err}
	}

	d.applied++
	d.past = append(d.past, c)
	for _, e := range h.answer.Effects {
		switch {
		case e.Call != 0:
			d.calls[e.Call] = e.To
		case e.Timer == 0:
		case e.At.IsZero():
			d.timers = slices.DeleteFunc(d.timers, func(a alarm) bool { return a.id == e.Timer })
		default:
			d.timers = append(d.timers, alarm{e.Timer, e.At, []byte(e.Data)})
		}
	}
	slices.SortStableFunc(d.timers, func(a, b alarm) int { return a.at.Compare(b.at) })
	return h.answer
}

// undo makes the daemon again, with its past.
func (d *Daemon) undo() {
	d.t.Helper()
	var err error
	if d.code, err = d.begin(); err != nil {
		d.t.Fatalf("making the daemon again: %v", err)
	}
	for i := range d.past {
		c := &d.past[i]
		h := &host{daemon: d, call: c, again: true}
		if err := h.run(func() error { return d.code.Process(sdk.Event{Data: append([]byte(nil), c.data...)}) }); err != nil {
			d.t.Fatalf("event %d was applied, and fails when it is applied again: %v; what the daemon keeps does not follow from its events", c.sequence, err)
		}
	}
}
