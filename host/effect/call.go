package effect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/identity"
)

// CallName names a call for ever: with the daemon that made it, no two have the same.
type CallName struct {
	_      struct{} `cbor:",toarray"`
	Epoch  uint64   // of the asker, under which it asked
	Number uint64   // of the effect
}

// Before reports whether c was made before another call of the same daemon.
func (c CallName) Before(other CallName) bool {
	return cmp.Or(cmp.Compare(c.Epoch, other.Epoch), cmp.Compare(c.Number, other.Number)) < 0
}

// Status is how a call ended. The numbers are part of the guest contract and of the
// history's format.
type Status uint8

// The ways in which a call ends.
const (
	Answered     Status = 0 // with the payload that the other daemon gave
	Declined     Status = 1 // the other daemon refused it, for the reason in the payload
	Failed       Status = 2 // the other daemon failed on it, with the error in the payload
	NoSuchDaemon Status = 3 // there is no such daemon, or it was removed
	TimedOut     Status = 4 // the deadline passed first
	Forked       Status = 5 // the daemon is a fork: the call is its parent's

	Statuses = 6 // how many there are
)

func (s Status) String() string {
	switch s {
	case Answered:
		return "answered"
	case Declined:
		return "refused"
	case Failed:
		return "failed"
	case NoSuchDaemon:
		return "no such daemon"
	case TimedOut:
		return "timed out"
	case Forked:
		return "forked"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Call is what the daemon asked another, which has not been answered.
type Call struct {
	_        struct{} `cbor:",toarray"`
	Name     CallName
	To       identity.EntityID
	Deadline int64  // when it times out, Unix nanoseconds; 0: never
	Ends     Status // above Answered: it ends so, as soon as the daemon runs
}

// Due returns when the host itself ends the call, Unix nanoseconds; false: never.
func (c *Call) Due() (at int64, ok bool) {
	if c.Ends != Answered {
		return 1, true
	}
	return c.Deadline, c.Deadline > 0
}

// Owed is what another daemon asked this one, which has not answered.
type Owed struct {
	_    struct{} `cbor:",toarray"`
	ID   uint64   // the sequence of the event by which it was asked
	From identity.EntityID
	Call CallName
}

// Reply is an answer that is on its way to who asked. Epoch and Number name it among
// the daemon's replies.
type Reply struct {
	_       struct{} `cbor:",toarray"`
	Epoch   uint64
	Number  uint64
	To      identity.EntityID
	Call    CallName
	Status  Status
	Payload []byte
}

// ReplyText cuts the reason of a reply that the host makes to its bound.
func ReplyText(reason string) []byte {
	if len(reason) > MaxReplyText {
		reason = strings.ToValidUTF8(reason[:MaxReplyText], "")
	}
	return []byte(reason)
}

// Bounds of calls.
const (
	MaxCalls     = 4096 // of one daemon that are not answered
	MaxOwed      = 1024 // asked of one daemon and not answered, with replies on their way
	MaxReplyText = 1024 // bytes of the reason of a reply that the host makes
)

// calls is what a State holds of asking and answering.
type calls struct {
	open    []Call // in order
	owed    []Owed // by ID
	replies []Reply
	replied uint64 // the number of the last reply
}

func (c *calls) empty() bool {
	return len(c.open) == 0 && len(c.owed) == 0 && len(c.replies) == 0 && c.replied == 0
}

// Calls returns what the daemon asked and has had no answer to, in order; it is not to
// be changed.
func (s *State) Calls() []Call { return s.calls.open }

// Owes returns what the daemon was asked and has not answered, in order; it is not to
// be changed.
func (s *State) Owes() []Owed { return s.calls.owed }

// Replies returns the answers that are on their way, in order; they are not to be
// changed.
func (s *State) Replies() []Reply { return s.calls.replies }

// MayBeAsked reports whether the daemon has room for one more ask of by. An asker may take no
// more of the room than it leaves to others: alone it gets half of MaxOwed, of two each a
// third.
func (s *State) MayBeAsked(by identity.EntityID) bool {
	all := len(s.calls.owed) + len(s.calls.replies)
	if all < MaxOwed/2 {
		return true // what it has taken is less than what is left
	}

	own := 0
	for i := range s.calls.owed {
		if s.calls.owed[i].From == by {
			own++
		}
	}
	for i := range s.calls.replies {
		if s.calls.replies[i].To == by {
			own++
		}
	}
	return own < MaxOwed-all
}

// Call returns the daemon's call of that name, where it is open.
func (s *State) Call(name CallName) (Call, bool) {
	i, ok := s.find(name)
	if !ok {
		return Call{}, false
	}
	return s.calls.open[i], true
}

func (s *State) find(name CallName) (int, bool) {
	return slices.BinarySearchFunc(s.calls.open, name, func(c Call, n CallName) int {
		return cmp.Or(cmp.Compare(c.Name.Epoch, n.Epoch), cmp.Compare(c.Name.Number, n.Number))
	})
}

// IsCall reports whether the pending effect of that name is a call that is open.
func (s *State) IsCall(epoch, number uint64) bool {
	_, ok := s.find(CallName{Epoch: epoch, Number: number})
	return ok
}

// Asked notes that another daemon asked this one in the event of that sequence.
func (s *State) Asked(sequence uint64, from identity.EntityID, call CallName) {
	s.calls.owed = append(s.calls.owed, Owed{ID: sequence, From: from, Call: call})
}

// IsOwed reports whether an answer is owed to the ask of that number.
func (s *State) IsOwed(id uint64) bool {
	_, ok := s.owedAt(id)
	return ok
}

func (s *State) owedAt(id uint64) (int, bool) {
	return slices.BinarySearchFunc(s.calls.owed, id, func(o Owed, id uint64) int { return cmp.Compare(o.ID, id) })
}

// Answer puts an answer on its way, under an epoch of the daemon. What is not owed is
// no error: the first answer counts. The payload becomes the state's.
func (s *State) Answer(epoch, id uint64, status Status, payload []byte) {
	i, ok := s.owedAt(id)
	if !ok {
		return
	}

	o := s.calls.owed[i]
	if s.calls.owed = slices.Delete(s.calls.owed, i, i+1); len(s.calls.owed) == 0 {
		s.calls.owed = nil
	}

	s.Reply(epoch, o.From, o.Call, status, payload)
}

// Reply puts a reply to a call on its way that was never owed, since the daemon failed
// on the event.
func (s *State) Reply(epoch uint64, to identity.EntityID, call CallName, status Status, payload []byte) {
	s.calls.replied++
	s.calls.replies = append(s.calls.replies, Reply{Epoch: epoch, Number: s.calls.replied, To: to, Call: call, Status: status, Payload: payload})
	s.bytes += Cost(len(payload))
}

// Askers returns to whom replies are to go, each once.
func (s *State) Askers() []identity.EntityID {
	seen := make(map[identity.EntityID]bool)
	var out []identity.EntityID
	for i := range s.calls.replies {
		if to := s.calls.replies[i].To; !seen[to] {
			seen[to] = true
			out = append(out, to)
		}
	}

	return out
}

// RepliesTo is For of the replies that go to one daemon.
func (s *State) RepliesTo(to identity.EntityID, most, bytes int) []Reply {
	var out []Reply
	for i := range s.calls.replies {
		if s.calls.replies[i].To != to {
			continue
		}
		if bytes -= len(s.calls.replies[i].Payload); len(out) >= most || bytes < 0 && len(out) > 0 {
			break
		}
		out = append(out, s.calls.replies[i])
	}

	return out
}

// SettleReplies takes out the replies to one daemon, up to that of the name.
func (s *State) SettleReplies(to identity.EntityID, epoch, number uint64) {
	through := Mark{Epoch: epoch, Number: number}
	s.calls.replies = slices.DeleteFunc(s.calls.replies, func(r Reply) bool {
		done := r.To == to && !through.Before(r.Epoch, r.Number)
		if done {
			s.bytes -= Cost(len(r.Payload))
		}
		return done
	})

	if len(s.calls.replies) == 0 {
		s.calls.replies = nil
	}
}

// End takes out a call, which has ended, and what of it has not left. It reports
// whether it was open: of an answer and a deadline the first counts.
func (s *State) End(name CallName) bool {
	i, ok := s.find(name)
	if !ok {
		return false
	}

	s.calls.open = slices.Delete(s.calls.open, i, i+1)
	if len(s.calls.open) == 0 {
		s.calls.open = nil
	}

	s.drop(name)
	return true
}

// GiveUp makes the calls to a daemon, up to that of the name, end as NoSuchDaemon.
func (s *State) GiveUp(to identity.EntityID, through CallName) {
	for i := range s.calls.open {
		if c := &s.calls.open[i]; c.To == to && c.Ends == Answered && !through.Before(c.Name) {
			c.Ends = NoSuchDaemon
		}
	}
}

// LastCall returns the name of the last call to a daemon that is open and not given up;
// false: there is none.
func (s *State) LastCall(to identity.EntityID) (CallName, bool) {
	for i := len(s.calls.open) - 1; i >= 0; i-- {
		if c := &s.calls.open[i]; c.To == to && c.Ends == Answered {
			return c.Name, true
		}
	}
	return CallName{}, false
}

// drop takes out the pending effect of that name: a call that has ended would arrive as
// what is sent.
func (s *State) drop(name CallName) {
	for i := range s.pending {
		if e := &s.pending[i]; e.Epoch == name.Epoch && e.Number == name.Number {
			s.bytes -= Cost(len(e.Payload))
			if s.pending = slices.Delete(s.pending, i, i+1); len(s.pending) == 0 {
				s.pending = nil
			}
			return
		}
	}
}

// NextCall returns the call that the host itself ends first, and when, among those whose
// numbers are below limit; 0: among all. false: there is none. Of several that are due at
// once it is the one that was made first.
func (s *State) NextCall(limit uint64) (c Call, at int64, ok bool) {
	for i := range s.calls.open {
		if limit > 0 && s.calls.open[i].Name.Number >= limit {
			continue
		}
		if due, ends := s.calls.open[i].Due(); ends && (!ok || due < at) {
			c, at, ok = s.calls.open[i], due, true
		}
	}
	return c, at, ok
}

// forked is what a fork has of the calls: they end as Forked, and it answers none.
func (c *calls) forked() calls {
	out := calls{open: slices.Clone(c.open)}
	for i := range out.open {
		out.open[i].Ends = Forked
	}
	return out
}

// check returns nil, or what is wrong with calls that were read.
func (c *calls) check() error {
	if len(c.open) > MaxCalls || len(c.owed)+len(c.replies) > MaxOwed || c.replied >= numberLimit {
		return fmt.Errorf("%d calls, %d owed, %d replies up to %d", len(c.open), len(c.owed), len(c.replies), c.replied)
	}

	for i, o := range c.open {
		if !o.Name.valid() || o.To.IsZero() || o.Deadline < 0 || o.Ends >= Statuses || i > 0 && !c.open[i-1].Name.Before(o.Name) {
			return fmt.Errorf("call %d of epoch %d", o.Name.Number, o.Name.Epoch)
		}
	}

	for i, o := range c.owed {
		if o.ID == 0 || o.ID >= numberLimit || o.From.IsZero() || !o.Call.valid() || i > 0 && c.owed[i-1].ID >= o.ID {
			return fmt.Errorf("an answer owed to event %d", o.ID)
		}
	}

	last := Mark{}
	for _, r := range c.replies {
		if r.Epoch >= numberLimit || r.Number > c.replied || !last.Before(r.Epoch, r.Number) || r.To.IsZero() || !r.Call.valid() ||
			r.Status >= TimedOut || len(r.Payload) > MaxPayload {
			return fmt.Errorf("reply %d of epoch %d", r.Number, r.Epoch)
		}
		last = Mark{Epoch: r.Epoch, Number: r.Number}
	}

	return nil
}

func (c CallName) valid() bool {
	return c.Epoch < numberLimit && c.Number > 0 && c.Number < numberLimit
}
