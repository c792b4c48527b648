package broker

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/identity"
)

// Cursor names an event of a channel. A channel that is removed and made anew under
// its name has another birth, and counts its events from 1 again.
type Cursor struct {
	Birth    string // 16 hexadecimal digits; empty: of the channel that there is
	Sequence uint64 // of the event; 0: before the first
}

// birthDigits is how many hexadecimal digits a birth has.
const birthDigits = 16

// birthOf is the birth of the channel whose events have that sender.
func birthOf(source identity.EntityID) string { return hex.EncodeToString(source[:birthDigits/2]) }

// String returns BIRTH:SEQUENCE; the sequence alone where the cursor has no birth.
func (c Cursor) String() string {
	n := strconv.FormatUint(c.Sequence, 10)
	if c.Birth == "" {
		return n
	}
	return c.Birth + ":" + n
}

// ParseCursor reads what String writes. channel.ErrBadCursor.
func ParseCursor(text string) (c Cursor, err error) {
	birth, n, whole := strings.Cut(text, ":")
	if !whole {
		birth, n = "", text
	} else if b, err := hex.DecodeString(birth); err != nil || 2*len(b) != birthDigits || strings.ToLower(birth) != birth {
		return c, fmt.Errorf("%w: %q", channel.ErrBadCursor, text)
	}

	c = Cursor{Birth: birth}
	if c.Sequence, err = strconv.ParseUint(n, 10, 64); err != nil || c.Sequence >= chain.CountLimit || n != strconv.FormatUint(c.Sequence, 10) {
		return Cursor{}, fmt.Errorf("%w: %q", channel.ErrBadCursor, text)
	}
	return c, nil
}

// check returns nil where the cursor is of that channel; channel.ErrChanged.
func (c Cursor) check(name string, src source) error {
	birth := birthOf(src.id())
	if c.Birth != "" && c.Birth != birth && !c.isOfFormer(src) {
		return fmt.Errorf("%w: %q is of birth %s now, the cursor of %s", channel.ErrChanged, name, birth, c.Birth)
	}
	if _, log := src.(logSource); log && c.Sequence > src.head() {
		return fmt.Errorf("%w: %q has %d events, the cursor is of event %d", channel.ErrChanged, name, src.head(), c.Sequence)
	}
	return nil
}

// isOfFormer reports whether the cursor is of an earlier birth of that channel, and of an
// event that the channel has.
func (c Cursor) isOfFormer(src source) bool {
	log, ok := src.(logSource)
	if !ok {
		return false
	}
	birth, err := hex.DecodeString(c.Birth)
	until, known := log.c.sameUntil(birth)
	return err == nil && known && c.Sequence <= until
}
