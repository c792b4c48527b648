package sdk

import (
	"errors"
	"time"
	"unsafe"
)

// Why something is not published, sent or set.
var (
	ErrDenied   = errors.New("the daemon was not granted that") // when it was spawned
	ErrInvalid  = errors.New("no channel, daemon or time is like that")
	ErrTooLarge = errors.New("an event that is sent has at most 1 MiB")
)

func answer(code int32) error {
	switch code {
	case 0:
		return nil
	case 1:
		return ErrDenied
	case 3:
		return ErrTooLarge
	}
	return ErrInvalid
}

// Publish publishes an event on a channel, once this event is durable. An event
// that fails publishes nothing.
func Publish(channel string, data []byte) error {
	return answer(publish(unsafe.Pointer(unsafe.StringData(channel)), uint32(len(channel)), unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))))
}

// Send sends an event to a daemon, wherever it is, as Publish does.
func Send(to ID, data []byte) error {
	return answer(send(unsafe.Pointer(&to), unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))))
}

// TimerID names a timer.
type TimerID int64

// SetTimer has the daemon get data as an event of kind Timer at that time: once, and
// late rather than never.
func SetTimer(at time.Time, data []byte) (TimerID, error) {
	n := timer(at.UnixNano(), unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)))
	if n < 0 {
		return 0, answer(int32(-n))
	}
	return TimerID(n), nil
}

// After is SetTimer at so long after this event.
func After(delay time.Duration, data []byte) (TimerID, error) {
	return SetTimer(time.Unix(0, eventTime()).Add(delay), data)
}

// Cancel makes the timer not fire. One that has fired is no error.
func (t TimerID) Cancel() { timerCancel(int64(t)) }
