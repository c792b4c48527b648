package sdk

import (
	"time"
	"unsafe"
)

// Call names a call between daemons: to who asked it is what Ask returned, to who is
// asked what Event.Call returns. 0 is none.
type Call uint64

// Status is how a call ended.
type Status uint32

// The ways in which a call ends.
const (
	Answered     Status = 0 // the event's data is the answer
	Refused      Status = 1 // the data is the reason
	Failed       Status = 2 // the other daemon failed on it; the data is the error
	NoSuchDaemon Status = 3 // there is none, or it was removed
	TimedOut     Status = 4 // the deadline passed first
	Forked       Status = 5 // this daemon is a fork of the one that asked
)

// CallError is a call that ended without an answer.
type CallError struct {
	Status Status
	Text   string // what the other daemon said
}

func (e *CallError) Error() string {
	text := [...]string{"answered", "refused", "failed", "no such daemon", "timed out", "forked"}[min(e.Status, Forked)]
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}

// Ask sends an event of kind Asked to a daemon, which answers it: as Send, under the same
// grant. How the call ends comes as an event of kind Reply whose Call is the one that
// is returned. A zero deadline never passes.
func Ask(to ID, data []byte, deadline time.Time) (Call, error) {
	at := int64(0)
	if !deadline.IsZero() {
		if at = deadline.UnixNano(); at <= 0 {
			return 0, ErrInvalid
		}
	}
	n := ask(unsafe.Pointer(&to), unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)), at)
	if n < 0 {
		return 0, answer(int32(-n))
	}
	return Call(n), nil
}

// Call returns, of an event of kind Asked, what to answer; of one of kind Reply, the call
// that has ended; else 0.
func (Event) Call() Call { return Call(eventCall()) }

// Status returns how the call ended that the event is the Reply of.
func (Event) Status() Status { return Status(eventStatus()) }

// Reply returns the answer that the event of kind Reply brings; a *CallError where there
// is none.
func (e Event) Reply() ([]byte, error) {
	if s := e.Status(); s != Answered {
		return nil, &CallError{s, string(e.Data)}
	}
	return e.Data, nil
}

// Answer answers what another daemon asked, in the event that asked or in any later one.
// The first answer counts.
func (c Call) Answer(data []byte) error {
	return answer(answerCall(uint64(c), unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))))
}

// Refuse is Answer with the reason why there is none.
func (c Call) Refuse(reason string) error {
	return answer(refuseCall(uint64(c), unsafe.Pointer(unsafe.StringData(reason)), uint32(len(reason))))
}
