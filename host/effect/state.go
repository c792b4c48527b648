package effect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// State is what of a daemon's effects is still to come, what it may do, and what
// it has got of other daemons' effects. It is part of the daemon's state. It is not
// safe for concurrent use.
type State struct {
	grants  Grants
	pending []Pending // in order
	bytes   int       // that they count for
	timers  []Alarm   // by time, then number
	alarms  int       // bytes that timers count for
	heard   map[identity.EntityID]Mark
	calls   calls
	halted  bool
}

// Pending is an effect that is to be carried out. Epoch and Number name it:
// whoever gets it takes it once.
type Pending struct {
	_       struct{} `cbor:",toarray"`
	Epoch   uint64
	Number  uint64
	Place   Place
	Payload []byte
}

// Place is where an effect goes: a channel of a node, or a daemon.
type Place struct {
	_       struct{}          `cbor:",toarray"`
	Node    identity.NodeID   // of the channel; 0: it goes to a daemon
	Channel string            // empty: it goes to a daemon
	To      identity.EntityID // zero: it goes to a channel

	// Replies says that what goes there are replies to calls, which are a stream of
	// their own: they do not wait for what else goes to the daemon. No Pending is so.
	Replies bool `cbor:"-"`
}

// String returns the place for people.
func (p Place) String() string {
	if p.Channel != "" {
		return fmt.Sprintf("channel %q of node %s", p.Channel, p.Node)
	}
	if p.Replies {
		return "daemon " + p.To.Origin().String() + ", which asked"
	}
	return "daemon " + p.To.Origin().String()
}

// Alarm is a timer.
type Alarm struct {
	_       struct{} `cbor:",toarray"`
	ID      uint64
	At      int64 // when it is due, Unix nanoseconds
	Payload []byte
}

// Mark is the last that a daemon got from another.
type Mark struct {
	_      struct{} `cbor:",toarray"`
	Sender identity.EntityID
	Epoch  uint64
	Number uint64
	Time   int64 // when it was recorded, Unix nanoseconds
}

// Before reports whether m stands before the effect of that name.
func (m Mark) Before(epoch, number uint64) bool {
	return cmp.Or(cmp.Compare(m.Epoch, epoch), cmp.Compare(m.Number, number)) < 0
}

// New returns a state with grants, which are cloned.
func New(g Grants) *State { return &State{grants: g.Clone()} }

// Grants returns what the daemon may do; it is not to be changed.
func (s *State) Grants() *Grants { return &s.grants }

// Grant sets what the daemon may do.
func (s *State) Grant(g Grants) { s.grants = g.Clone() }

// Empty reports whether there is nothing to be kept.
func (s *State) Empty() bool {
	return s.grants.IsZero() && len(s.pending) == 0 && len(s.timers) == 0 && len(s.heard) == 0 && s.calls.empty() && !s.halted
}

// Halt notes that the daemon is stopped until it is started again, or that it is not.
func (s *State) Halt(stop bool) { s.halted = stop }

// Halted reports whether the daemon is stopped.
func (s *State) Halted() bool { return s.halted }

// Resting returns what of the state is needed while its daemon rests: grants, timers
// and calls, which may time out; nil of nil.
func (s *State) Resting() *State {
	if s == nil {
		return nil
	}
	return &State{grants: s.grants, timers: s.timers, alarms: s.alarms, halted: s.halted, calls: calls{open: s.calls.open}}
}

// Fork returns what a fork of the daemon begins with: the timers and the calls, which its
// state counts on; each call ends as Forked. Grants, what is on its way and what it was
// asked remain the parent's. nil of nil.
func (s *State) Fork() *State {
	if s == nil {
		return nil
	}
	return &State{timers: s.timers, alarms: s.alarms, calls: s.calls.forked()}
}

// Room returns for what there is room.
func (s *State) Room() abi.EffectRoom {
	return abi.EffectRoom{Pending: MaxPending - len(s.pending) - len(s.calls.replies), Bytes: MaxPendingBytes - s.bytes,
		Timers: MaxTimers - len(s.timers), TimerBytes: MaxTimerBytes - s.alarms, Calls: MaxCalls - len(s.calls.open)}
}

// RoomAfter is Room while the timer of that number fires, or the call ends: it counts no
// more. 0: none does.
func (s *State) RoomAfter(firing uint64) abi.EffectRoom {
	room := s.Room()
	for i := range s.timers {
		if firing != 0 && s.timers[i].ID == firing {
			room.Timers, room.TimerBytes = room.Timers+1, room.TimerBytes+Cost(len(s.timers[i].Payload))
			return room
		}
	}

	if firing != 0 && slices.ContainsFunc(s.calls.open, func(c Call) bool { return c.Name.Number == firing }) {
		room.Calls++
	}
	return room
}

// Cost is what an effect counts for, bytes.
func Cost(payload int) int { return overhead + payload }

// Apply notes the effects of the daemon's event of that sequence. They were
// permitted when the event was applied. The payloads become the state's.
func (s *State) Apply(epoch, sequence uint64, list []Effect) {
	for i := range list {
		e := &list[i]
		number := Number(sequence, i)
		switch e.Kind {
		case Publish:
			if g := s.grants.MayPublish(e.Channel); g != nil {
				s.add(Pending{Epoch: epoch, Number: number, Place: Place{Node: g.Node, Channel: e.Channel}, Payload: e.Payload})
			}

		case Send:
			s.add(Pending{Epoch: epoch, Number: number, Place: Place{To: e.To}, Payload: e.Payload})
		case Ask:
			s.add(Pending{Epoch: epoch, Number: number, Place: Place{To: e.To}, Payload: e.Payload})
			s.calls.open = append(s.calls.open, Call{Name: CallName{Epoch: epoch, Number: number}, To: e.To, Deadline: e.At})
		case Answer:
			s.Answer(epoch, e.ID, Answered, e.Payload)
		case Refuse:
			s.Answer(epoch, e.ID, Declined, e.Payload)
		case Timer:
			s.set(Alarm{ID: number, At: e.At, Payload: e.Payload})
		case Cancel:
			s.Fired(e.ID)
		}
	}
}

func (s *State) add(p Pending) {
	s.pending = append(s.pending, p)
	s.bytes += Cost(len(p.Payload))
}

func byTime(a, b Alarm) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.ID, b.ID)) }

func (s *State) set(a Alarm) {
	i, there := slices.BinarySearchFunc(s.timers, a, byTime)
	if there {
		return
	}
	s.timers = slices.Insert(s.timers, i, a)
	s.alarms += Cost(len(a.Payload))
}

// Fired takes a timer out, where there is one.
func (s *State) Fired(id uint64) {
	for i := range s.timers {
		if s.timers[i].ID == id {
			s.alarms -= Cost(len(s.timers[i].Payload))
			s.timers = slices.Delete(s.timers, i, i+1)
			return
		}
	}
}

// Next returns the timer that is due first. The state keeps it.
func (s *State) Next() (Alarm, bool) {
	if len(s.timers) == 0 {
		return Alarm{}, false
	}
	return s.timers[0], true
}

// NextBefore is Next among the timers whose numbers are below limit.
func (s *State) NextBefore(limit uint64) (Alarm, bool) {
	for i := range s.timers {
		if s.timers[i].ID < limit {
			return s.timers[i], true
		}
	}
	return Alarm{}, false
}

// Timers returns the timers, the first due first; they are not to be changed.
func (s *State) Timers() []Alarm { return s.timers }

// Pending returns what is to be carried out, in order; it is not to be changed.
func (s *State) Pending() []Pending { return s.pending }

// Places returns where something is to go, each once.
func (s *State) Places() []Place {
	seen := make(map[Place]bool)
	var out []Place
	for i := range s.pending {
		if p := s.pending[i].Place; !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}

	return out
}

// For returns what goes to a place, in order: at most so many, and, after the
// first, so many bytes. The payloads stay the state's.
func (s *State) For(p Place, most, bytes int) []Pending {
	var out []Pending
	for i := range s.pending {
		if s.pending[i].Place != p {
			continue
		}
		if bytes -= len(s.pending[i].Payload); len(out) >= most || bytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, s.pending[i])
	}

	return out
}

// Settle takes out what goes to a place, up to the effect of that name.
func (s *State) Settle(p Place, epoch, number uint64) {
	through := Mark{Epoch: epoch, Number: number}
	s.pending = slices.DeleteFunc(s.pending, func(e Pending) bool {
		done := e.Place == p && !through.Before(e.Epoch, e.Number)
		if done {
			s.bytes -= Cost(len(e.Payload))
		}
		return done
	})

	if len(s.pending) == 0 {
		s.pending = nil
	}
}

// Heard returns the last that the daemon got from the sender.
func (s *State) Heard(sender identity.EntityID) (Mark, bool) {
	m, ok := s.heard[sender]
	return m, ok
}

// Hear notes what the daemon got from a sender; a mark never goes back.
func (s *State) Hear(m Mark) {
	if old, ok := s.heard[m.Sender]; ok && !old.Before(m.Epoch, m.Number) {
		return
	}
	if s.heard == nil {
		s.heard = make(map[identity.EntityID]Mark)
	}
	s.heard[m.Sender] = m
}

// Senders returns of how many senders there is a mark.
func (s *State) Senders() int { return len(s.heard) }

// Forget takes out the marks of senders that were silent since before.
func (s *State) Forget(before int64) {
	maps.DeleteFunc(s.heard, func(_ identity.EntityID, m Mark) bool { return m.Time < before })
}

// stored is the canonical CBOR form of a State.
type stored struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Grants  Grants
	Pending []Pending
	Timers  []Alarm
	Heard   []Mark
}

const version = 1

// haltedState is that of a daemon that is stopped. Others are as they were before
// daemons could be stopped.
type haltedState struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Grants  Grants
	Pending []Pending
	Timers  []Alarm
	Heard   []Mark
	Halted  bool
}

const haltedVersion = 2

// askingState is that of a daemon that asks or is asked. Others are as they were before
// daemons could.
type askingState struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Grants  Grants
	Pending []Pending
	Timers  []Alarm
	Heard   []Mark
	Halted  bool
	Calls   []Call
	Owed    []Owed
	Replies []Reply
	Replied uint64
}

const askingVersion = 3

// read returns what b holds.
func read(b []byte) (in askingState, err error) {
	const haltedArray, askingArray = 0x86, 0x8a // of six, and of ten
	switch b[0] {
	case haltedArray:
		var h haltedState
		if err = canon.Unmarshal(b, &h); err == nil && (h.Version != haltedVersion || !h.Halted) {
			err = fmt.Errorf("version %d of a stopped daemon: %v", h.Version, h.Halted)
		}
		return askingState{Grants: h.Grants, Pending: h.Pending, Timers: h.Timers, Heard: h.Heard, Halted: true}, err

	case askingArray:
		if err = canon.Unmarshal(b, &in); err != nil {
			return in, err
		}

		c := calls{open: in.Calls, owed: in.Owed, replies: in.Replies, replied: in.Replied}
		if in.Version != askingVersion || c.empty() {
			return in, fmt.Errorf("version %d of a daemon that asks", in.Version)
		}
		return in, c.check()

	default:
		var s stored
		if err = canon.Unmarshal(b, &s); err == nil && s.Version != version {
			err = fmt.Errorf("version %d", s.Version)
		}
		return askingState{Grants: s.Grants, Pending: s.Pending, Timers: s.Timers, Heard: s.Heard}, err
	}
}

// Encode returns the state's canonical CBOR; nothing of an empty one, or of nil.
func (s *State) Encode() ([]byte, error) {
	if s == nil || s.Empty() {
		return nil, nil
	}

	out := stored{Version: version, Grants: s.grants, Pending: s.pending, Timers: s.timers}
	out.Heard = slices.SortedFunc(maps.Values(s.heard), func(a, b Mark) int { return a.Sender.Compare(b.Sender) })
	var b []byte
	var err error

	switch {
	case !s.calls.empty():
		b, err = canon.Marshal(&askingState{Version: askingVersion, Grants: out.Grants, Pending: out.Pending, Timers: out.Timers, Heard: out.Heard,
			Halted: s.halted, Calls: s.calls.open, Owed: s.calls.owed, Replies: s.calls.replies, Replied: s.calls.replied})
	case s.halted:
		b, err = canon.Marshal(&haltedState{Version: haltedVersion, Grants: out.Grants, Pending: out.Pending, Timers: out.Timers, Heard: out.Heard, Halted: true})
	default:
		b, err = canon.Marshal(&out)
	}

	if err != nil {
		return nil, fmt.Errorf("encoding effects: %w", err)
	}
	return b, nil
}

// Decode reads what Encode wrote; nil of nothing. Errors wrap ErrBadState.
func Decode(b []byte) (*State, error) {
	if len(b) == 0 {
		return nil, nil
	}

	in, err := read(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadState, err)
	}
	if len(in.Pending) > MaxPending || len(in.Timers) > MaxTimers {
		return nil, fmt.Errorf("%w: %d pending, %d timers", ErrBadState, len(in.Pending), len(in.Timers))
	}
	if err := in.Grants.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadState, err)
	}
	if !in.Grants.inOrder() {
		return nil, fmt.Errorf("%w: the grants are not in order", ErrBadState)
	}

	s := New(in.Grants)
	s.halted = in.Halted
	s.calls = calls{open: in.Calls, owed: in.Owed, replies: in.Replies, replied: in.Replied}
	for i := range in.Replies {
		s.bytes += Cost(len(in.Replies[i].Payload))
	}

	last := Mark{}
	for _, p := range in.Pending {
		if err := p.check(); err != nil || !last.Before(p.Epoch, p.Number) {
			return nil, fmt.Errorf("%w: effect %d of epoch %d: %w", ErrBadState, p.Number, p.Epoch, err)
		}
		last = Mark{Epoch: p.Epoch, Number: p.Number}
		s.add(p)
	}

	for i, a := range in.Timers {
		if a.ID == 0 || a.ID >= numberLimit || a.At <= 0 || len(a.Payload) > MaxPayload || i > 0 && byTime(in.Timers[i-1], a) >= 0 {
			return nil, fmt.Errorf("%w: timer %d at %d", ErrBadState, a.ID, a.At)
		}
		s.set(a)
	}

	for i, m := range in.Heard {
		if m.Sender.IsZero() || m.Epoch >= numberLimit || m.Number >= numberLimit || i > 0 && in.Heard[i-1].Sender.Compare(m.Sender) >= 0 {
			return nil, fmt.Errorf("%w: a mark of %s", ErrBadState, m.Sender)
		}
		s.Hear(m)
	}

	if s.bytes > MaxPendingBytes || s.alarms > MaxTimerBytes || s.Empty() {
		return nil, fmt.Errorf("%w: %d and %d bytes of them", ErrBadState, s.bytes, s.alarms)
	}
	return s, nil
}

func (p *Pending) check() error {
	if p.Number >= numberLimit || p.Epoch >= numberLimit || len(p.Payload) > MaxPayload {
		return fmt.Errorf("%w: %d bytes", errBadEffect, len(p.Payload))
	}
	if p.Place.Channel == "" {
		if p.Place.Node != 0 || p.Place.To.IsZero() {
			return fmt.Errorf("%w: it goes nowhere", errBadEffect)
		}
		return nil
	}

	if p.Place.Node == 0 || !p.Place.To.IsZero() {
		return fmt.Errorf("%w: it goes to two places", errBadEffect)
	}
	return identity.ValidChannel(p.Place.Channel)
}
