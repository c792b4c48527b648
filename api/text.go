package api

import (
	"unicode"
)

// Misleads reports whether a terminal, or a reader, takes r for something else than a
// character: it is a control character (C0, DEL, C1), changes the direction of text,
// separates lines or paragraphs, or is an invisible annotation or tag.
func Misleads(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp) ||
		r >= 0xfff9 && r <= 0xfffb || r >= 0xe0000 && r <= 0xe007f
}
