package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// EventSource is where the event, or the events, of a command come from.
type EventSource struct {
	data    string // the event
	file    string // a file that is the event; empty: none
	Lines   string // a file whose lines are events; empty: none
	implied bool   // file is standard input, for nothing else was given
}

// DeclareEvents declares the flags that say what is sent.
func DeclareEvents(c *cobra.Command) {
	c.Flags().String("data", "", "the event, as text; the same as DATA")
	c.Flags().StringP("file", "f", "", "a file that is the event; - is standard input")
	c.Flags().String("lines", "", "a file whose lines are events; - is standard input")
	MayBeEmpty(c, "data")
}

// DeclareOne declares the flags of DeclareEvents that are of one event.
func DeclareOne(c *cobra.Command) {
	c.Flags().String("data", "", "the question, as text; the same as DATA")
	c.Flags().StringP("file", "f", "", "a file that is the question; - is standard input")
	MayBeEmpty(c, "data")
}

// EventSource returns what the flags of declareEvents, or an argument, give.
func (a *App) EventSource(c *cobra.Command, args []string) (s EventSource, err error) {
	given := len(args)
	for _, f := range []struct {
		name string
		to   *string
	}{{"data", &s.data}, {"file", &s.file}, {"lines", &s.Lines}} {
		if flag := c.Flags().Lookup(f.name); flag != nil && flag.Changed {
			*f.to = flag.Value.String()
			given++
		}
	}
	switch {
	case given > 1:
		return s, Usagef("give one of DATA, --data TEXT, -f FILE, - and --lines FILE")
	case given == 0 && a.Asks:
		return s, Usagef("what is to be sent? Give DATA, --data TEXT, -f FILE, --lines FILE, or - for standard input")
	case given == 0:
		s.file, s.implied = "-", true
	case len(args) == 1 && args[0] == "-":
		s.file = "-"
	case len(args) == 1 && args[0] == "":
		return s, Usagef("DATA is empty: an empty event is --data ''")
	case len(args) == 1:
		s.data = args[0]
	}
	return s, nil
}

// Read returns the one event.
func (s EventSource) Read(a *App) ([]byte, error) {
	if s.file == "" {
		return []byte(s.data), nil
	}
	if !s.implied {
		return a.ReadFile(s.file)
	}
	late := time.AfterFunc(waitWord, func() {
		fmt.Fprintln(a.Err, "reading the event from standard input, until its end")
	})
	defer late.Stop()
	event, err := io.ReadAll(a.In)
	if err == nil && len(event) == 0 {
		err = Usagef("what is to be sent? Standard input is empty: give DATA, --data TEXT, -f FILE or --lines FILE; - sends what is there")
	}
	return event, err
}
