package daemon

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// MaxKindName is how many bytes the name of a kind has at most.
const MaxKindName = 128

// ValidKind returns nil when s can name a kind: segments with / or :: between them, of
// letters, digits, - _ and . of any script, that each begin with a letter or a digit. The
// name has 1 to MaxKindName bytes of UTF-8 in normal form C, so that two names that look
// the same are the same, and nothing in it that is not seen. Errors wrap ErrBadName.
//
// The name is no path, although it may have a slash: code that makes a file's name, a
// URL or a key of it escapes it. A channel's name is never made of it.
func ValidKind(s string) error {
	switch {
	case len(s) == 0 || len(s) > MaxKindName:
		return fmt.Errorf("%w: a kind's name of %d bytes; it has 1 to %d", ErrBadName, len(s), MaxKindName)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: kind %q is not UTF-8", ErrBadName, s)
	}

	for segment := range strings.SplitSeq(strings.ReplaceAll(s, "::", "/"), "/") {
		if err := validSegment(segment); err != nil {
			return fmt.Errorf("%w: kind %q: %w", ErrBadName, s, err)
		}
	}

	if !norm.NFC.IsNormalString(s) {
		return fmt.Errorf("%w: kind %q is not in Unicode normal form C; write %q", ErrBadName, s, norm.NFC.String(s))
	}
	return nil
}

// validSegment returns nil for one segment of a kind's name.
func validSegment(s string) error {
	for i, c := range s {
		switch {
		case isUnseen(c):
			return fmt.Errorf("it has %U, which is not seen", c)
		case unicode.IsLetter(c), unicode.IsDigit(c):
		case i == 0:
			return fmt.Errorf("a part begins with %q; it begins with a letter or a digit", c)
		case unicode.IsMark(c), strings.ContainsRune("-_.", c):
		default:
			return fmt.Errorf("it has %q; a name is letters, digits, - _ . and / or :: between parts", c)
		}
	}

	if s == "" {
		return fmt.Errorf("a part is empty; one / or :: stands between parts")
	}
	return nil
}

// isUnseen reports whether a letter or a mark has no shape of its own, so that names with
// and without it look the same.
func isUnseen(c rune) bool {
	return unicode.In(c, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector, unicode.Cf, unicode.Cc)
}

// maxStem is how many bytes of its kind's name a daemon's own name has.
const maxStem = 40

// NameStem returns what the name of a daemon that nobody named begins with: its kind's
// name as far as it can be a daemon's, with - for what cannot.
func NameStem(kind string) string {
	var stem strings.Builder
	gap := false

	for _, c := range kind {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (stem.Len() == 0 || !strings.ContainsRune("-_.", c)) {
			gap = stem.Len() > 0
			continue
		}

		if gap && stem.Len() < maxStem {
			stem.WriteByte('-')
		}

		if gap = false; stem.Len() == maxStem {
			break
		}

		stem.WriteRune(c)
	}

	if stem.Len() == 0 {
		return "daemon"
	}
	return stem.String()
}
