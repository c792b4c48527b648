package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"wasmhost/host/directory"
	"wasmhost/identity"
)

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

// Resolve returns the daemon that a reference names, also one that moved away. Errors:
// ErrBadRef, ErrNotFound, *AmbiguousError where several are named alike, and
// ErrNotReady while daemons are being recovered.
func (r *Runtime) Resolve(text string) (identity.EntityID, error) {
	ref, err := ParseRef(text)
	if err != nil {
		return identity.EntityID{}, err
	}
	return r.ResolveRef(ref)
}

// ResolveRef is Resolve of a parsed reference. A whole entity id is returned whether
// the daemon is known or not.
func (r *Runtime) ResolveRef(ref Ref) (identity.EntityID, error) {
	if r.life.Load() == lifeRegistering {
		return identity.EntityID{}, ErrNotReady
	}
	if id, ok := ref.Entity(); ok {
		return id, nil
	}

	entry := originEntry(ref.Origin())
	if name, ok := ref.Name(); ok {
		if err := ValidName(name); err != nil {
			return identity.EntityID{}, fmt.Errorf("%w: %w", ErrBadRef, err)
		}

		r.mu.RLock()
		id, here := r.names[name]
		r.mu.RUnlock()
		if here {
			return id, nil
		}
		entry = nameEntry(name)
	}

	found, err := r.matching(ref.Names, func() ([]identity.EntityID, error) { return r.movedAs(entry, ref.Names) })
	if err != nil {
		return identity.EntityID{}, err
	}
	if len(found) == 0 {
		if err := r.ready(); err != nil {
			return identity.EntityID{}, err
		}
		return identity.EntityID{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
	}
	return onlyOne(ref.String(), found)
}

// minPrefix is how many digits the beginning of an id has at least.
const minPrefix = 4

// DaemonsBegunBy returns the daemons that this node knows whose origin or entity id
// begins with text, of at least four hexadecimal digits. It is for commands that look:
// what changes something takes whole references. Errors: ErrBadRef, ErrNotReady.
func (r *Runtime) DaemonsBegunBy(text string) ([]identity.EntityID, error) {
	if r.life.Load() == lifeRegistering {
		return nil, ErrNotReady
	}
	if err := ValidPrefix(text); err != nil {
		return nil, err
	}
	begun := func(id identity.EntityID, _ string) bool { return BeginsID(id, text) }
	return r.matching(begun, func() ([]identity.EntityID, error) { return r.movedBegunBy(text, begun) })
}

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

// matching returns the daemons that match holds of, by id: those that are here, those
// that moved says left, and, where there are none, those that the cluster's directory
// lists.
func (r *Runtime) matching(match func(identity.EntityID, string) bool, moved func() ([]identity.EntityID, error)) ([]identity.EntityID, error) {
	var out []identity.EntityID
	r.mu.RLock()
	for id, d := range r.daemons {
		if match(id, d.name) {
			out = append(out, id)
		}
	}
	r.mu.RUnlock()
	gone, err := moved()
	if err != nil {
		return nil, err
	}
	if out = append(out, gone...); len(out) == 0 && r.cluster != nil {
		r.cluster.member.Named(func(e directory.Entry) bool {
			if match(e.Entity, e.Name) {
				out = append(out, e.Entity)
			}
			return false
		})
	}
	slices.SortFunc(out, identity.EntityID.Compare)
	return slices.Compact(out), nil
}

// onlyOne returns the only daemon of found, which is not empty; *AmbiguousError.
func onlyOne(text string, found []identity.EntityID) (identity.EntityID, error) {
	if len(found) > 1 {
		return identity.EntityID{}, &AmbiguousError{Ref: text, Matches: found}
	}
	return found[0], nil
}
