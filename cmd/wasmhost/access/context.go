package access

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/contexts"
)

// namedContext is a context as it is shown.
type namedContext struct {
	contexts.Context
	Current bool   `json:"current"`          // it is the one that commands are for now
	Source  string `json:"source,omitempty"` // of the current one: what made it that
}

// Context is the command context.
func Context(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "context", Aliases: []string{"contexts"}, Short: "Manage contexts: names for the nodes that commands address", Long: `Contexts are names for nodes: a socket, or a URL with a token file and a CA file. Commands
are for the node of --context; else of WASMHOST_CONTEXT; else of the key context in
wasmhost.toml; else of the context that "context use" made the current one. A --socket or
--url wins over contexts from further down this list, and both in one place are an
error. The context default is always there: the socket of this machine's node.

They are kept in $XDG_CONFIG_HOME/wasmhost/contexts.toml (~/.config), with mode 0600. The
file is refused when others may read it. Tokens are not in it, only the names of their
files.`}

	c.AddCommand(contextListCommand(a), contextShowCommand(a), contextUseCommand(a), contextAddCommand(a), contextRemoveCommand(a))
	return c
}

// contextNow returns the target of a command that was given no address.
func contextNow(a *cli.App) (cli.Target, error) { return cli.FindTarget(a.Settings) }

func contextListCommand(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the contexts", Example: "  wasmhost context ls", Args: cli.Exact(0)}
	return cli.Printing(a, c, cli.Listing[namedContext]{
		Get: func(*cobra.Command) ([]namedContext, error) {
			now, err := contextNow(a)
			if err != nil {
				return nil, err
			}

			set, err := contexts.Read(cli.ContextsFile())
			if err != nil {
				return nil, err
			}

			local := contexts.Context{Name: contexts.Default, Socket: cli.SettingOf("socket").Def}
			if now.Name == contexts.Default {
				local = now.Context
			}

			list := []namedContext{{Context: local}}
			for _, c := range set.List() {
				list = append(list, namedContext{Context: c})
			}

			for i := range list {
				if list[i].Name == now.Name {
					list[i].Current, list[i].Source = true, now.Source
				}
			}
			return list, nil
		},
		Head: "CURRENT\tNAME\tADDRESS\tTOKEN FILE\tCA FILE",
		Row: func(c namedContext) string {
			mark := ""
			if c.Current {
				mark = "*"
			}
			return strings.Join([]string{mark, c.Name, cli.Target{Context: c.Context}.Address(), c.TokenFile, c.CAFile}, "\t")
		},
		Name: func(c namedContext) string { return c.Name },
	})
}

func contextShowCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "show [NAME]", Aliases: []string{"inspect", "current"}, Short: "Show a context; without a name that which commands are for now", Example: "  wasmhost context show -o name\n  wasmhost context show prod -o yaml", Args: cli.Between(0, 1),
		RunE: func(_ *cobra.Command, args []string) error {
			now, err := contextNow(a)
			if err != nil {
				return err
			}

			shown := namedContext{now.Context, true, now.Source}
			if len(args) == 1 && args[0] != now.Name {
				set, err := contexts.Read(cli.ContextsFile())
				if err != nil {
					return err
				}

				shown = namedContext{}
				if args[0] == contexts.Default {
					shown.Context = contexts.Context{Name: contexts.Default, Socket: cli.SettingOf("socket").Def}
				} else if shown.Context, err = set.Get(args[0]); err != nil {
					return err
				}
			}

			return a.Print(shown, func(w io.Writer) { writeContext(w, shown) }, func() string { return shown.Name })
		}}
}

func writeContext(w io.Writer, c namedContext) {
	fmt.Fprintf(w, "name\t%s\naddress\t%s\n", c.Name, cli.Target{Context: c.Context}.Address())
	if c.TokenFile != "" {
		fmt.Fprintf(w, "token file\t%s\n", c.TokenFile)
	}

	if c.CAFile != "" {
		fmt.Fprintf(w, "CA file\t%s\n", c.CAFile)
	}

	if c.Current {
		fmt.Fprintf(w, "current\tby %s\n", c.Source)
	}
}

// changeContexts has change change the file of contexts.
func changeContexts(change func(*contexts.Set) error) error {
	return contexts.Change(cli.ContextsFile(), change)
}

func contextUseCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "use NAME", Aliases: []string{"switch"}, Short: "Make a context the current one", Example: "  wasmhost context use prod\n  wasmhost context use default", Args: cli.Exact(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := changeContexts(func(s *contexts.Set) error { return s.Use(args[0]) }); err != nil {
				return err
			}

			now, err := contextNow(a)
			if err != nil {
				return err
			}
			if now.Name != args[0] {
				fmt.Fprintf(a.Err, "commands are still for %s, which %s names\n", now.Address(), now.Source)
			}

			return a.Print(map[string]any{"name": args[0], "current": now.Name == args[0]}, func(w io.Writer) { fmt.Fprintf(w, "%s is the current context\n", args[0]) }, func() string { return args[0] })
		}}
}

func contextAddCommand(a *cli.App) *cobra.Command {
	var use, replace bool
	c := &cobra.Command{Use: "add NAME {--socket PATH | --url https://HOST:PORT}", Aliases: []string{"create"}, Short: "Add a context", Long: `Add a context: a node by its socket, or by its API over TCP, with the files of the token and
of the certificate that it is trusted by (those of the machine without). Files are kept by
their absolute paths, and read when a command needs them.`, Example: `  wasmhost context add prod --url https://node1:7444 --token-file prod.token --ca-file prod.crt --use
  wasmhost context add b --socket /run/wasmhost/b.sock`, Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			added := contexts.Context{Name: args[0]}
			for _, f := range []struct {
				flag string
				to   *string
			}{{"socket", &added.Socket}, {"url", &added.URL}, {"token-file", &added.TokenFile}, {"ca-file", &added.CAFile}} {
				flag := c.Flag(f.flag)
				if !flag.Changed {
					continue
				}
				if *f.to = flag.Value.String(); f.flag == "url" {
					continue
				}
				if *f.to, err = filepath.Abs(*f.to); err != nil {
					return err
				}
			}

			err = changeContexts(func(s *contexts.Set) error {
				if err := s.Add(added, replace); err != nil || !use {
					return err
				}
				return s.Use(added.Name)
			})
			if err != nil {
				return err
			}

			return a.Print(namedContext{Context: added, Current: use}, func(w io.Writer) {
				fmt.Fprintf(w, "context %s is %s\n", added.Name, cli.Target{Context: added}.Address())
			}, func() string { return added.Name })
		}}

	c.Flags().BoolVar(&use, "use", false, "make it the current one")
	c.Flags().BoolVar(&replace, "replace", false, "in the place of one of its name")
	return c
}

func contextRemoveCommand(a *cli.App) *cobra.Command {
	var yes bool
	c := &cobra.Command{Use: "rm NAME...", Aliases: []string{"remove", "delete"}, Short: "Forget contexts", Long: "Forget contexts; the nodes are not touched. Where the current one is among them, default is the current one." + cli.SeveralHelp, Example: "  wasmhost context rm old --yes", Args: cli.AtLeast(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Confirm(yes, "forget "+cli.TargetsOf("context", args)); err != nil {
				return err
			}
			return a.Each(c, args, func(name string) error {
				if err := changeContexts(func(s *contexts.Set) error { return s.Remove(name) }); err != nil {
					return err
				}
				return a.Print(map[string]any{"name": name, "removed": true}, func(w io.Writer) { fmt.Fprintf(w, "context %s is forgotten\n", name) }, func() string { return name })
			})
		}}

	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
