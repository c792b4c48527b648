package cli

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Colours are for terminals alone, and for those who have not said NO_COLOR.

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// colours reports whether what is written to w is shown in colour.
func colours(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && IsTerminal(w)
}

func coloured(text, colour string) string { return "\x1b[" + colour + "m" + text + "\x1b[0m" }

// writeColoured writes text of this program itself in colour, if w shows colours.
func writeColoured(w io.Writer, text, colour string) {
	if !colours(w) {
		_, _ = io.WriteString(w, text) // as with all that is said on standard error
		return
	}
	_, _ = io.WriteString(Bare(w), coloured(text, colour))
}

var stateColours = map[string]string{
	"running": green, "connected": green, "this node": green, "healthy": green, "active": green, "moved": green,
	"stopped": yellow, "passive": yellow, "draining": yellow, "migrating": yellow, "restoring": yellow,
	"failed": red, "not connected": red, "removed": red, "lost": red, "silent": red,
}

// painted returns a table with its heads in bold and its states in colours. Its texts
// are printable.
func painted(table string) string {
	lines := strings.SplitAfter(table, "\n")
	head := lines[0]
	at := -1 // of the states, in characters
	if i := strings.Index(head, "STATE"); i >= 0 && (i == 0 || head[i-1] == ' ') {
		at = utf8.RuneCountInString(head[:i])
	}
	for i, line := range lines {
		text := strings.TrimSuffix(line, "\n")
		switch {
		case text == "":
		case i == 0 && text == strings.ToUpper(text):
			lines[i] = coloured(text, bold) + "\n"
		case at >= 0:
			lines[i] = paintState(text, at) + "\n"
		}
	}
	return strings.Join(lines, "")
}

// paintState colours the state that begins at a character of a line.
func paintState(line string, at int) string {
	runes := []rune(line)
	if at >= len(runes) {
		return line
	}
	rest := string(runes[at:])
	state, _, _ := strings.Cut(rest, "  ")
	colour := stateColours[strings.TrimSpace(state)]
	if colour == "" {
		return line
	}
	return string(runes[:at]) + coloured(state, colour) + rest[len(state):]
}
