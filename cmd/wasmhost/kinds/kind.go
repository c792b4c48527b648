// Package kinds has the verbs of what daemons are made of and held to: kind and limits.
package kinds

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Kind is the command kind.
func Kind(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "kind", Aliases: []string{"kinds"}, Short: "Manage kinds: the modules that daemons are spawned of"}
	var limits []string
	var to cli.List
	var signed []string
	var convention cli.Convention
	push := &cobra.Command{Use: "push NAME FILE", Short: "Upload a module as a kind; - is standard input", Long: `Upload a module as a kind, - from standard input. Another push of the name is a new version of it:
daemons keep the module that they were spawned with, until wasmhost upgrade. NAME has letters
and digits of any script, - _ . and parts between / or ::, such as shop/orders::v2.

--to NODE, which may stand several times, or --to all, pushes it on to nodes that this one
trusts, and that let it push kinds ("wasmhost node trust grant"). Where some do not take
it the others, and this one, have it: the exit code is 12.

A node that was started with --kind-keys runs no module that none of these keys has
signed, wherever it comes from: --signature goes with the push, and on to others.

` + cli.ConventionHelp, Example: `  wasmhost kind push counter testdata/wasm/c/counter.wasm
  wasmhost kind push counter counter.wasm --limit memory=16MiB -o json
  wasmhost kind push meter meter.wasm --limit snapshot-events=1000 --limit snapshot-interval=30s --limit history=1000000`, Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		wasm, err := convention.Read(a, args[1])
		if err != nil {
			return err
		}
		signatures, err := signatures(a, signed)
		if err != nil {
			return err
		}
		k, err := a.Client().Kinds().PushTo(c.Context(), args[0], bytes.NewReader(wasm), client.PushTo{Limits: append(a.FileLimits("kind", args[0]), limits...), Nodes: to.Texts, Signatures: signatures})
		if err != nil {
			return err
		}
		if err := a.Print(k, func(w io.Writer) {
			fmt.Fprintf(w, "kind %s is module %.12s, %s; %s\n", k.Name, k.Digest, cli.Size(k.Size), cli.StateText(k.State))
			for _, n := range k.Nodes {
				if n.Error == nil {
					fmt.Fprintf(w, "node %s has it\n", cli.OrID(n.Name, n.NodeID))
				}
			}
		}, func() string { return k.Name }); err != nil {
			return err
		}
		return pushedEverywhere(k.Nodes)
	}}
	convention.Declare(push)
	push.Flags().StringArrayVar(&signed, "signature", nil, "file with a signature of the module, of wasmhost kind sign; may stand several times")
	push.Flags().Var(&to, "to", "node that is to have it as well, or all; may stand several times")
	push.Flags().StringArrayVar(&limits, "limit", nil, "NAME=VALUE: "+cli.LimitHelp+" Of daemons spawned from now on")
	ls := cli.Printing(a, &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the kinds", Example: "  wasmhost kind ls -o name\n  wasmhost kind ls --filter 'daemons>0'", Args: cli.Exact(0)}, cli.Listing[api.Kind]{
		Get:  func(c *cobra.Command) ([]api.Kind, error) { return a.Client().Kinds().List(c.Context()) },
		Head: "NAME\tMODULE\tSIZE\tSTATE\tDAEMONS",
		Row: func(k api.Kind) string {
			return fmt.Sprintf("%s\t%.12s\t%s\t%s\t%d", k.Name, k.Digest, cli.Size(k.Size), k.State, k.Daemons)
		},
		Name: func(k api.Kind) string { return k.Name },
	})
	inspect := &cobra.Command{Use: "inspect NAME...", Aliases: []string{"describe"}, Short: "Show kinds and their modules", Long: "Show kinds and their modules." + cli.SeveralHelp, Example: "  wasmhost kind inspect counter", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		return a.Each(c, args, func(name string) error {
			k, err := a.Client().Kinds().Get(c.Context(), name)
			if err != nil {
				return err
			}
			return a.Print(k, func(w io.Writer) {
				fmt.Fprintf(w, "name\t%s\ndaemons\t%d\npushed\t%s\n", k.Name, k.Daemons, k.Pushed.Format("2006-01-02 15:04:05Z07:00"))
				if k.Report != nil {
					cli.WriteReport(w, k.Report)
				}
			}, func() string { return k.Name })
		})
	}}
	var yes bool
	rm := &cobra.Command{Use: "rm NAME...", Aliases: []string{"remove", "delete"}, Short: "Forget kinds", Long: "Forget kinds. One that has daemons on the node is kept." + cli.SeveralHelp, Example: "  wasmhost kind rm counter --yes", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		if err := a.Confirm(yes, "forget "+cli.TargetsOf("kind", args)); err != nil {
			return err
		}
		return a.Each(c, args, func(name string) error {
			k, err := a.Client().Kinds().Remove(c.Context(), name)
			if err != nil {
				return err
			}
			return a.Print(k, func(w io.Writer) { fmt.Fprintf(w, "kind %s is forgotten\n", k.Name) }, func() string { return k.Name })
		})
	}}
	rm.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	pull := &cobra.Command{Use: "pull NAME FILE", Short: "Write a kind's module to a file; - is standard output", Example: "  wasmhost kind pull counter counter.wasm", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		body, err := a.Client().Kinds().Pull(c.Context(), args[0])
		if err != nil {
			return err
		}
		defer body.Close()
		return a.WriteTo(args[1], body)
	}}
	c.AddCommand(push, kindSignCommand(a), ls, inspect, rm, pull)
	return c
}

// pushedEverywhere says which nodes did not take a kind, and why.
func pushedEverywhere(nodes []api.PushedTo) error {
	var missing []string
	for _, n := range nodes {
		if n.Error != nil {
			missing = append(missing, fmt.Sprintf("node %s: %s (%s)", cli.OrID(n.Name, n.NodeID), n.Error.Detail, n.Error.Code))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d: %s", api.ErrNotEverywhere, len(missing), len(nodes), strings.Join(missing, "; "))
}
