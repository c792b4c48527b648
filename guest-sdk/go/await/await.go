// Package await lets a daemon wait: for the answers of other daemons, for time, for the
// first of several. A handler is straight code; where it waits, the event ends, and a later
// event takes it up there.
//
//	func handle(e *await.Event) error {
//		price, err := await.Ask(prices, e.Data).Wait()
//		if err != nil {
//			return err
//		}
//		await.Sleep(24 * time.Hour)
//		return e.Answer(price)
//	}
//
//	func init() { await.Register(handle) }
//
// What waits is part of the daemon's memory, as everything is: it is stored, moved, forked
// and undone with it, and nothing is replayed when it goes on. While one handler waits,
// others run: what two of them change may have changed after each wait.
package await

import (
	"encoding/binary"
	"errors"
	"iter"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
)

// Event is what a handler handles. Unlike sdk.Event it holds what it says: after a wait
// the daemon processes another event.
type Event struct {
	Data     []byte // the handler's own
	Kind     sdk.Kind
	Sender   sdk.ID
	Channel  string
	Sequence uint64
	Time     time.Time

	call     sdk.Call
	answered bool
}

// Answer answers the event where another daemon asked it, and emits data as an output
// where none did.
func (e *Event) Answer(data []byte) error {
	if e.call == 0 {
		sdk.Emit(data)
		return nil
	}
	e.answered = true
	return e.call.Answer(data)
}

// Handler handles one event. Where it returns an error before it has waited, the event
// fails and leaves no trace. After a wait the error goes to the daemon that asked, where
// one did and has had no answer, and to the log.
type Handler func(*Event) error

// Register makes the handler the module's daemon. It is called once, in an init function.
func Register(h Handler) { sdk.Register(New(h)) }

// New returns a daemon whose events the handler handles.
func New(h Handler) sdk.Daemon {
	return &scheduler{handler: h, calls: make(map[sdk.Call]*Future), timers: make(map[uint64]*Future)}
}

// scheduler runs tasks, one at a time.
type scheduler struct {
	handler Handler
	calls   map[sdk.Call]*Future // that have not ended
	timers  map[uint64]*Future
	last    uint64 // number of the timer that was set last
	running *task
	ready   []*task // to be run in this event
	err     error   // of the task of the event itself
}

// task is code that may wait.
type task struct {
	next  func() (struct{}, bool) // runs it until it waits, or ends
	yield func(struct{}) bool
	runs  bool // it is in ready
}

// current is the scheduler whose event is processed now.
var current *scheduler

// Process implements sdk.Daemon.
func (s *scheduler) Process(event sdk.Event) error {
	current, s.err = s, nil
	defer func() { current = nil }()
	switch kind := event.Kind(); kind {
	case sdk.Reply:
		if f, ok := s.calls[event.Call()]; ok {
			delete(s.calls, event.Call())
			data, err := event.Reply()
			f.end(append([]byte(nil), data...), err)
		}
	case sdk.Timer:
		if id, ok := timerOf(event.Data); ok {
			if f := s.timers[id]; f != nil {
				delete(s.timers, id)
				f.end(nil, nil)
			}
			break
		}
		fallthrough
	default:
		e := &Event{Data: append([]byte(nil), event.Data...), Kind: kind, Sender: event.Sender(), Channel: event.Channel(), Sequence: event.Sequence(),
			Time: event.Time(), call: event.Call()}
		s.begin(func() { s.handle(e) })
	}

	for len(s.ready) > 0 {
		t := s.ready[0]
		s.ready = s.ready[1:]
		t.runs = false
		s.running = t
		t.next()
		s.running = nil
	}
	return s.err
}

// handle runs the handler to its end, which may be events later.
func (s *scheduler) handle(e *Event) {
	err := s.handler(e)
	switch {
	case err == nil:
	case sdk.Event{}.Sequence() == e.Sequence:
		s.err = err
	case e.call != 0 && !e.answered:
		if refused := e.call.Refuse(err.Error()); refused != nil {
			sdk.Log(sdk.Error, "refusing call: "+refused.Error())
		}
	default:
		sdk.Log(sdk.Error, "event "+string(e.Data[:min(len(e.Data), 64)])+": "+err.Error())
	}
}

// begin makes a task that runs in this event, after those that are to run.
func (s *scheduler) begin(run func()) {
	t := new(task)
	t.next, _ = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		run()
	})
	s.wake(t)
}

func (s *scheduler) wake(t *task) {
	if !t.runs {
		t.runs = true
		s.ready = append(s.ready, t)
	}
}

// here is the scheduler of the code that calls.
func here() *scheduler {
	if current == nil || current.running == nil {
		panic("await: called outside a handler")
	}
	return current
}

// Go runs f beside the handler that calls, in this event and in later ones.
func Go(f func()) { here().begin(f) }

// Future is what comes later: the answer to a call, or a time.
type Future struct {
	done  bool
	data  []byte
	err   error
	tasks []*task // that wait for it
}

func (f *Future) end(data []byte, err error) {
	f.done, f.data, f.err = true, data, err
	for _, t := range f.tasks {
		current.wake(t)
	}
	f.tasks = nil
}

// Done reports whether Wait would return at once.
func (f *Future) Done() bool { return f.done }

// Wait waits for the answer. A call that ended without one is a *sdk.CallError.
func (f *Future) Wait() ([]byte, error) {
	First(f)
	return f.data, f.err
}

// First waits for one of the futures, and returns which: the first in the list of those
// that are done.
func First(futures ...*Future) int {
	if len(futures) == 0 {
		panic("await: waiting for none")
	}
	t := here().running
	for {
		for i, f := range futures {
			if f.done {
				for _, other := range futures {
					other.leave(t)
				}
				return i
			}
		}
		for _, f := range futures {
			f.tasks = append(f.tasks, t)
		}
		t.yield(struct{}{})
	}
}

func (f *Future) leave(t *task) {
	for i, one := range f.tasks {
		if one == t {
			f.tasks = append(f.tasks[:i], f.tasks[i+1:]...)
			return
		}
	}
}

// All waits for all of the futures, and returns the first error in their order.
func All(futures ...*Future) error {
	var err error
	for _, f := range futures {
		if _, one := f.Wait(); err == nil {
			err = one
		}
	}
	return err
}

// Ask asks a daemon, without a deadline. Where that is not permitted the future is done,
// with the error.
func Ask(to sdk.ID, data []byte) *Future { return askUntil(to, data, time.Time{}) }

// AskWithin is Ask with a deadline so long after this event.
func AskWithin(limit time.Duration, to sdk.ID, data []byte) *Future {
	return askUntil(to, data, sdk.Event{}.Time().Add(limit))
}

func askUntil(to sdk.ID, data []byte, deadline time.Time) *Future {
	s := here()
	f := new(Future)
	call, err := sdk.Ask(to, data, deadline)
	if err != nil {
		f.done, f.err = true, err
		return f
	}
	s.calls[call] = f
	return f
}

// After is done so long after this event.
func After(delay time.Duration) *Future {
	s := here()
	s.last++
	f := new(Future)
	if _, err := sdk.After(delay, timerData(s.last)); err != nil {
		f.done, f.err = true, err
		return f
	}
	s.timers[s.last] = f
	return f
}

// ErrTimer is wrapped where a time cannot be waited for.
var ErrTimer = errors.New("no timer can be set")

// Sleep waits until so long after this event. It panics where the daemon may set no more
// timers: the event fails.
func Sleep(delay time.Duration) {
	if _, err := After(delay).Wait(); err != nil {
		panic(errors.Join(ErrTimer, err))
	}
}

// magic begins the data of this package's timers.
const magic = "\x00await1\x00"

func timerData(id uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte(magic), id)
}

func timerOf(data []byte) (uint64, bool) {
	if len(data) != len(magic)+8 || string(data[:len(magic)]) != magic {
		return 0, false
	}
	return binary.LittleEndian.Uint64(data[len(magic):]), true
}
