package daemon

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"wasmhost.example/identity"
)

// ValidName returns nil when s can name a kind or a daemon: 1 to 63 characters
// of a-z A-Z 0-9 - _ . beginning with a letter or digit.
func ValidName(s string) error {
	if len(s) == 0 || len(s) > 63 {
		return fmt.Errorf("%w: %q has %d characters, a name has 1 to 63", ErrBadName, s, len(s))
	}

	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '-' && c != '_' && c != '.') {
			return fmt.Errorf("%w: %q; a name is letters, digits, - _ . and begins with a letter or digit", ErrBadName, s)
		}
	}

	return nil
}

// ErrBadRef says that a text is no reference.
var ErrBadRef = errors.New("not a reference")

// maxRef bounds the text of a reference. The longest name is 63 bytes, of a node 255.
const maxRef = 255 + len("name:")

// Ref is a parsed reference: either a name or an id.
//
// A reference is how people and programs name a daemon or a node:
//
//	NAME       its whole name
//	16 digits  its whole origin, or a node's id; never a name
//	64 digits  its whole entity id, or a node's key; never a name
//	name:NAME  its whole name, also one of 16 digits that an old version let it have
//	id:DIGITS  its whole origin, node id or entity id
//
// Digits are hexadecimal. What changes something resolves references and nothing
// else. The beginning of an id names nothing: DaemonsBegunBy is for those who look.
type Ref struct {
	text  string
	name  string            // of a name
	short uint64            // of 16 digits
	key   identity.EntityID // of 64 digits
	by    refKind
}

type refKind uint8

const (
	byName refKind = iota
	byShort
	byKey
)

// Lengths of ids in hexadecimal.
const (
	shortDigits = 16
	keyDigits   = 64
)

// LooksLikeID reports whether s can only be an id: 16 or 64 hexadecimal digits.
// Nothing may be given such a name.
func LooksLikeID(s string) bool {
	return (len(s) == shortDigits || len(s) == keyDigits) && isHex(s)
}

func isHex(s string) bool {
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// ParseRef reads a reference. Errors wrap ErrBadRef.
func ParseRef(text string) (Ref, error) {
	r := Ref{text: text, name: text}
	if len(text) > maxRef {
		return Ref{}, fmt.Errorf("%w: %d bytes, at most %d", ErrBadRef, len(text), maxRef)
	}

	rest, named := strings.CutPrefix(text, "name:")
	digits, isID := strings.CutPrefix(text, "id:")
	switch {
	case named:
		r.name = rest
	case isID && !LooksLikeID(digits):
		return Ref{}, fmt.Errorf("%w: %q; an id is 16 or 64 hexadecimal digits, whole", ErrBadRef, text)
	case LooksLikeID(digits):
		return refOfID(text, digits)
	}

	if r.name == "" || !utf8.ValidString(r.name) || strings.ContainsFunc(r.name, isControl) {
		return Ref{}, fmt.Errorf("%w: %q; write a whole name, or an id of 16 or 64 hexadecimal digits", ErrBadRef, text)
	}
	return r, nil
}

// refOfID reads digits, of which LooksLikeID holds.
func refOfID(text, digits string) (Ref, error) {
	r := Ref{text: text, by: byShort}
	if len(digits) == shortDigits {
		short, err := identity.ParseOriginHash(digits)
		r.short = uint64(short)
		return r, err
	}

	var err error
	r.by = byKey
	r.key, err = identity.ParseEntityID(digits)
	return r, err
}

func isControl(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }

// RefTo returns the reference to the daemon of that id.
func RefTo(id identity.EntityID) Ref { return Ref{text: id.String(), by: byKey, key: id} }

// String returns the text that was parsed.
func (r Ref) String() string { return r.text }

// Entity returns the entity id, where the reference is one.
func (r Ref) Entity() (identity.EntityID, bool) { return r.key, r.by == byKey }

// Name returns the name, where the reference is one.
func (r Ref) Name() (string, bool) { return r.name, r.by == byName }

// Origin returns the origin of the daemon, where the reference has 16 digits.
func (r Ref) Origin() identity.OriginHash { return identity.OriginHash(r.short) }

// Names reports whether the reference names a daemon of that id and name.
func (r Ref) Names(id identity.EntityID, name string) bool {
	switch r.by {
	case byKey:
		return r.key == id
	case byShort:
		return identity.OriginHash(r.short) == id.Origin()
	}
	return r.name == name
}

// NamesNode reports whether the reference names a node of that id, key and name. The
// key may be zero: not known.
func (r Ref) NamesNode(id identity.NodeID, key identity.EntityID, name string) bool {
	switch r.by {
	case byKey:
		return r.key == key && !key.IsZero()
	case byShort:
		return identity.NodeID(r.short) == id
	}
	return r.name == name
}

// ValidDaemonName returns nil when s can be given to a daemon: a ValidName that is
// never mistaken for an id.
func ValidDaemonName(s string) error {
	if LooksLikeID(s) {
		return fmt.Errorf("%w: %q looks like an id: 16 or 64 hexadecimal digits are no name", ErrBadName, s)
	}
	return ValidName(s)
}

// minPrefix is how many digits the beginning of an id has at least.
const minPrefix = 4

// ValidPrefix returns nil where text can be the beginning of an id, and else ErrBadRef.
func ValidPrefix(text string) error {
	if !CanBegin(text) {
		return fmt.Errorf("%w: %q; the beginning of an id has %d to %d hexadecimal digits", ErrBadRef, text, minPrefix, keyDigits)
	}
	return nil
}

// CanBegin reports whether text can be the beginning of an id.
func CanBegin(text string) bool {
	return len(text) >= minPrefix && len(text) <= keyDigits && isHex(text)
}

// BeginsID reports whether the daemon's origin or entity id begins with text.
func BeginsID(id identity.EntityID, text string) bool {
	text = strings.ToLower(text)
	return strings.HasPrefix(id.Origin().String(), text) || strings.HasPrefix(id.String(), text)
}
