package clusters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/wire/trust"
)

// defaultRights are what a node may do that joins by a token which says nothing else.
const defaultRights = "read,operate,migrate,channels"

// Node is the command node.
func Node(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "node", Aliases: []string{"nodes"}, Short: "Manage this node and the nodes that it trusts"}
	ls := nodeListCommand(a, "ls", "List this node and its peers", false)
	ls.Example = "  wasmhost node ls -o json"
	inspect := &cobra.Command{Use: "inspect NODE...", Aliases: []string{"describe"}, Short: "Show this node or peers", Long: `Show this node or a peer, by its id, its name or a unique beginning of its id, and what it announces of itself: tags, free memory, load,
daemons, whether it is being drained, and what this node may do there.` + cli.SeveralHelp, Example: "  wasmhost node inspect b",
		Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
			first := true
			return a.Each(c, args, func(ref string) error {
				n, err := a.Client().Looking().Nodes().Get(c.Context(), ref)
				if err != nil {
					return err
				}
				if !first && a.Format == "table" {
					fmt.Fprintln(a.Out)
				}

				first = false
				return printCapable(a, n)
			})
		}}

	grants := "all"
	join := &cobra.Command{Use: "join TOKEN", Short: "Make this node and the one that printed the token trust each other", Long: `Make this node and the one that printed the token trust each other, as serve --join
does at the start. - reads the token from standard input. This node gets there the
rights of the token; the other gets here what --rights says, until "wasmhost node trust
grant" says otherwise.`, Example: `  wasmhost --socket a.sock node token | wasmhost --socket b.sock node join -
  wasmhost node join - --rights read,migrate < token`,
		Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
			token, err := a.Secret(args[0])
			if err != nil {
				return err
			}

			n, err := a.Client().Node().JoinWith(c.Context(), token, grants)
			if err != nil {
				return err
			}
			return printNode(a, n)
		}}

	join.Flags().StringVar(&grants, "rights", grants, "what the node that printed the token may do here: none, or some of all,read,operate,migrate,channels,kinds")
	c.AddCommand(ls, inspect, join)
	var ttl time.Duration
	var rights string
	token := &cobra.Command{Use: "token", Short: "Print a token with which another node can join, once", Long: `Print a token with which another node can join, once. Treat it as a password.

--rights says what the node that joins may do here ("wasmhost node trust grant --help");
without, read,operate,migrate,channels: all but to push kinds, for a kind is code that
runs here.

On a node of a cluster the token lets the other into the cluster too: its rights are
all,join unless --rights says otherwise. A node with other rights than that gets no vote
in the cluster's directory; one without join does not come in.`,
		Example: `  wasmhost node token --ttl 10m
  wasmhost node token --rights read,migrate -o json`, Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("rights") {
				var err error
				if rights, err = tokenRights(a, c.Context()); err != nil {
					return err
				}
			}

			t, err := a.Client().Node().JoinToken(c.Context(), ttl, rights)
			if err != nil {
				return err
			}

			fmt.Fprintf(a.Err, "the node that joins with it may do here: %s\n", rights)
			return a.Print(t, func(w io.Writer) { fmt.Fprintln(w, t.Token) }, func() string { return t.Token })
		}}

	token.Flags().DurationVar(&ttl, "ttl", time.Hour, "for how long the token is good")
	token.Flags().StringVar(&rights, "rights", "", "what the node that joins may do here: none, or some of all,read,operate,migrate,channels,kinds,join (default: "+defaultRights+"; on a node of a cluster all,join)")
	trust := &cobra.Command{Use: "trust", Short: "Trusted nodes"}
	var yes bool
	rm := &cobra.Command{Use: "rm NODE", Aliases: []string{"remove", "delete"}, Short: "Trust a node no longer", Example: "  wasmhost node trust rm b --yes", Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		if err := a.Confirm(yes, "end the trust in node "+args[0]); err != nil {
			return err
		}

		n, err := a.Client().Nodes().Distrust(c.Context(), args[0])
		if err != nil {
			return err
		}
		return printNode(a, n)
	}}

	rm.Flags().BoolVar(&yes, "yes", false, "do not ask")
	grant := &cobra.Command{Use: "grant NODE RIGHTS", Short: "Set what a trusted node may do here: none, or some of all,read,operate,migrate,channels,kinds,join", Long: grantHelp,
		Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
			n, err := a.Client().Nodes().Grant(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return printNode(a, n)
		}}

	grant.Example = "  wasmhost node trust grant b read,migrate"
	trusted := nodeListCommand(a, "ls", "List the trusted nodes, what each may do here, and how often each was denied more", true)
	trusted.Example = "  wasmhost node trust ls -o json"
	trust.AddCommand(trusted, grant, rm)
	c.AddCommand(token, trust, drainCommand(a), undrainCommand(a), rebalanceCommand(a))
	return c
}

// tokenRights are what a token gives if nothing else was said.
func tokenRights(a *cli.App, ctx context.Context) (string, error) {
	s, err := a.Client().Cluster().Status(ctx)
	var p *api.Problem
	switch {
	case err == nil && s.Engine == "embedded":
		return trust.RightsVoter.String(), nil
	case err == nil, errors.As(err, &p) && p.Code == "no-cluster":
		return defaultRights, nil
	}

	return "", err
}

const grantHelp = `Set what a trusted node may do here. Every trusted node may send events,
list daemons and see what inspect shows of them, and see what this node announces of
itself. Only one with operate or migrate is asked for daemons and groups that this node
does not know of, and picked for daemons. Beside that there are:

  read      what daemons emitted and logged, their chains and snapshots; kinds,
            their modules, and which nodes are trusted here
  operate   stop daemons, order their migration
  migrate   move daemons to this node, with their modules
  channels  publish on this node's channels that ask for no token, and subscribe
            daemons to them
  kinds     push kinds here, and new versions of them
  join      come into this node's cluster; with all the others, get a vote there, and
            decide who else is in it

RIGHTS is none, or some of these with commas between; all stands for every one but join. Daemons are spawned, kinds
forgotten and tokens issued by the node's owner alone.`

func nodeListCommand(a *cli.App, use, short string, peersOnly bool) *cobra.Command {
	return cli.Printing(a, &cobra.Command{Use: use, Aliases: []string{"list"}, Short: short, Args: cli.Exact(0)}, cli.Listing[api.Node]{
		Get: func(c *cobra.Command) ([]api.Node, error) {
			nodes, err := a.Client().Nodes().List(c.Context())
			if err == nil && peersOnly {
				nodes = nodes[1:]
			}
			return nodes, err
		},
		Head: nodeHead, Row: func(n api.Node) string { return nodeRow(a, n) },
		Name: func(n api.Node) string { return n.NodeID },
	})
}

const nodeHead = "NAME\t+NODE ID\tADDRESS\tSTATE\tRIGHTS"

func nodeRow(a *cli.App, n api.Node) string {
	rights := n.Rights
	if n.Denied > 0 {
		rights += fmt.Sprintf(" (%d denied)", n.Denied)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s", a.NodeName(n.NodeID), n.NodeID, n.Addr, cli.NodeState(n), rights)
}

func printNode(a *cli.App, n api.Node) error {
	if a.Format != "table" {
		return a.Print(n, nil, func() string { return n.NodeID })
	}
	return cli.PrintList(a, []api.Node{n}, nodeHead, func(n api.Node) string { return nodeRow(a, n) }, nil)
}

// printCapable is printNode of a node that was asked what it announces.
func printCapable(a *cli.App, n api.Node) error {
	return a.Print(n, func(w io.Writer) {
		fmt.Fprintf(w, "node\t%s\nname\t%s\naddress\t%s\nstate\t%s\n", n.NodeID, n.Name, n.Addr, cli.NodeState(n))
		if n.Rights != "" {
			fmt.Fprintf(w, "may do here\t%s (%d denied)\n", n.Rights, n.Denied)
		}

		c := n.Capabilities
		if c == nil {
			return
		}
		if c.Granted != "" {
			fmt.Fprintf(w, "lets this node\t%s\n", c.Granted)
		}

		tags := make([]string, 0, len(c.Tags))
		for k, v := range c.Tags {
			tags = append(tags, k+"="+v)
		}

		slices.Sort(tags)
		fmt.Fprintf(w, "tags\t%s\ndaemons\t%d\nmemory\t%s free of %s\n", strings.Join(tags, ", "), c.Daemons, cli.Size(c.FreeMemory), cli.Size(c.TotalMemory))
		if c.Load != nil {
			fmt.Fprintf(w, "load\t%.2f\n", *c.Load)
		}

		if c.Draining {
			fmt.Fprintln(w, "draining\tyes")
		}
	}, func() string { return n.NodeID })
}
