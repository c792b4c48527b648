package cli

import (
	"github.com/spf13/cobra"
)

// refuseOthers makes a command that only has subcommands fail on an unknown one.
func refuseOthers(c *cobra.Command) {
	for _, sub := range c.Commands() {
		refuseOthers(sub)
	}
	if c.HasSubCommands() && c.RunE == nil && c.Run == nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(c, args[0])
			}
			return c.Help()
		}
		c.Args = cobra.ArbitraryArgs
	}
}

// Exact is cobra.ExactArgs with an error of usage.
func Exact(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return Usagef("%s takes %s, got %d: %s", c.CommandPath(), arguments(n), len(args), c.UseLine())
		}
		return nil
	}
}

// Between is cobra.RangeArgs with an error of usage.
func Between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return Usagef("%s takes %d to %s, got %d: %s", c.CommandPath(), least, arguments(most), len(args), c.UseLine())
		}
		return nil
	}
}
