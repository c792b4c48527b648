package cli

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPainted(t *testing.T) {
	const table = "NAME  STATE          N\nc\u00e9    running        1\nb     not connected  2\nc     odd            3\n"
	const want = "\x1b[1mNAME  STATE          N\x1b[0m\nc\u00e9    \x1b[32mrunning\x1b[0m        1\nb     \x1b[31mnot connected\x1b[0m  2\nc     odd            3\n"
	if got := painted(table); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := painted("name  c1\n"); got != "name  c1\n" {
		t.Errorf("%q", got)
	}
}

// Colours, and what redraws the screen, are on a terminal alone, and not with NO_COLOR;
// texts of others have none.
func TestColoursAreForTerminals(t *testing.T) {
	t.Setenv("TERM", "xterm")
	list := []string{"a\x1b[31mb"}
	show := func(out io.Writer) {
		a := &App{Out: newPrintable(out), Err: io.Discard, Format: "table"}
		if err := PrintList(a, list, "NAME\tSTATE\t+ID", func(s string) string { return s + "\trunning\t1" }, nil); err != nil {
			t.Fatal(err)
		}
	}
	var pipe bytes.Buffer
	show(&pipe)
	if got, want := pipe.String(), "NAME      STATE\na\\u001b[31mb  running\n"; strings.ContainsRune(got, '\x1b') || strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("%q, want %q", got, want)
	}
	ours, theirs := openTerminal(t)
	shown := func() string {
		show(theirs)
		buf := make([]byte, 4096)
		if err := ours.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil && !os.IsTimeout(err) {
			t.Log(err) // a terminal need not have deadlines
		}
		n, err := ours.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	if got := shown(); !strings.Contains(got, "\x1b[32mrunning\x1b[0m") || strings.Contains(got, "\x1b[31m") || strings.Contains(got, "ID") {
		t.Errorf("a terminal shows %q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := shown(); strings.ContainsRune(got, '\x1b') {
		t.Errorf("with NO_COLOR a terminal shows %q", got)
	}
}
