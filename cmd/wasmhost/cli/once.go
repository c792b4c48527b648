package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// once is the value of a flag that may stand once, and that reads numbers as they are
// written: 010 is no octal number.
type once struct {
	pflag.Value
	given bool
}

var errGivenTwice = errors.New("the flag is given more than once")

// Set implements pflag.Value.
func (o *once) Set(text string) error {
	if o.given {
		return errGivenTwice
	}
	o.given = true
	kind := o.Type()
	if (strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint")) && !isPlain(text) {
		return fmt.Errorf("%q is no number in plain digits", text)
	}
	return o.Value.Set(text)
}

// isPlain reports whether text is a number as strconv writes it.
func isPlain(text string) bool {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return strconv.FormatInt(n, 10) == text
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && strconv.FormatUint(n, 10) == text
}

// refuseRepeated makes every flag of the command and those below it, but for lists, an
// error where it stands twice. Of serve's flags, and of those of all commands, the last
// one wins: they are settings, which a wrapper's arguments override.
func refuseRepeated(c *cobra.Command) {
	wrap := func(f *pflag.Flag) {
		switch f.Value.Type() {
		case "list", "stringArray", "stringSlice", "count":
			return
		}
		if _, ok := f.Value.(*once); !ok {
			f.Value = &once{Value: f.Value}
		}
	}
	if c.HasParent() && c.Name() != "serve" {
		c.Flags().VisitAll(wrap)
	}
	for _, sub := range c.Commands() {
		refuseRepeated(sub)
	}
}
