package cli

import (
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A value that is said to be empty is no default: it is mostly a variable of a script
// that was not set, and the default may open more than was meant. It is refused wherever
// a flag, a variable or a file has it, but for the few flags that have a use for it.

// mayBeEmptyMark is the annotation of such a flag.
const mayBeEmptyMark = "wasmhost_may_be_empty"

// MayBeEmpty declares that flags of c take an empty text: an empty event, or an empty
// configuration.
func MayBeEmpty(c *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := c.Flags().SetAnnotation(name, mayBeEmptyMark, []string{"true"}); err != nil {
			panic(err) // there is no such flag
		}
	}
}

// refuseEmpty returns an error of usage if a flag was given an empty value.
func refuseEmpty(c *cobra.Command) (err error) {
	c.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && emptyValue(f) && f.Annotations[mayBeEmptyMark] == nil {
			err = Usagef("--%s has an empty value: give one, or leave the flag out", f.Name)
		}
	})
	return err
}

func emptyValue(f *pflag.Flag) bool {
	if many, ok := f.Value.(pflag.SliceValue); ok {
		values := many.GetSlice()
		return len(values) == 0 || slices.Contains(values, "")
	}
	return f.Value.String() == ""
}

// refuseEmptyEnv returns an error of usage if the environment has an empty variable that
// a setting, or serve --join, would be taken from.
func refuseEmptyEnv() error {
	names := []string{"WASMHOST_JOIN"}
	for _, s := range Settings() {
		names = append(names, s.env())
	}
	for _, name := range names {
		if v, ok := os.LookupEnv(name); ok && v == "" {
			return Usagef("%s has an empty value: give one, or unset it", name)
		}
	}
	return nil
}
