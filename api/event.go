package api

import (
	"time"
)

// Output is one output of a daemon.
type Output struct {
	Origin   string  `json:"origin"`
	Epoch    uint64  `json:"epoch"`
	Sequence uint64  `json:"sequence"`
	Text     *string `json:"text,omitempty"` // when the payload is UTF-8
	Payload  string  `json:"payload"`        // base64

	Duplicate bool `json:"duplicate,omitempty"` // of an event that had been applied before
}

// Sent is what became of one event.
type Sent struct {
	Outputs   []Output `json:"outputs"`
	Duplicate bool     `json:"duplicate,omitempty"` // it had been applied before: these are the outputs recorded then

	Error   *Problem `json:"error,omitempty"`   // in a stream of events only
	Stopped bool     `json:"stopped,omitempty"` // with Error: nothing after this event is taken
}

// LogLine is one line of a daemon's log.
type LogLine struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"`
	Text  string    `json:"text"`
}
