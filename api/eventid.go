package api

import (
	"fmt"
	"strconv"
	"strings"
)

// EventID names an event, so that it can be sent again without being applied
// again: who sends, and which of the sender's events it is. A sender's numbers
// grow.
type EventID struct {
	Sender string // a name that whoever sends has chosen
	Number uint64 // from 1
}

// maxSender bounds a sender's name.
const maxSender = 255 // bytes of a sender's name

// ParseEventID reads SENDER or SENDER/NUMBER; without one the number is 1.
func ParseEventID(text string) (EventID, error) {
	id := EventID{Sender: text, Number: 1}
	if slash := strings.LastIndexByte(text, '/'); slash >= 0 {
		digits := text[slash+1:]
		n, err := strconv.ParseUint(digits, 10, 63)
		switch {
		case err == nil && n > 0 && digits[0] != '+':
			id.Sender, id.Number = text[:slash], n
		case strings.Trim(strings.TrimLeft(digits, "+- "), "0123456789") == "":
			return EventID{}, fmt.Errorf("%w: event id %q: a number is between 1 and 2^63-1, in digits alone", ErrBadRequest, text)
		}
	}

	if id.Sender == "" || len(id.Sender) > maxSender {
		return EventID{}, fmt.Errorf("%w: event id %q: a sender's name has 1 to %d bytes, not %d", ErrBadRequest, text, maxSender, len(id.Sender))
	}
	return id, nil
}

// String returns what ParseEventID reads.
func (id EventID) String() string { return id.Sender + "/" + strconv.FormatUint(id.Number, 10) }
