// Package groups has the verb group.
package groups

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Group is the command group.
func Group(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "group", Aliases: []string{"groups"}, Short: "Groups of interchangeable daemons", Long: `A group is a number of daemons of one kind that are as good as each other: what is sent
to group/NAME goes to one of them. Their identities come from one seed, so that a member
that is lost is made anew as the same daemon, empty. The node on which a group is created
keeps it: it chooses the members, looks at them every few seconds, and makes those anew
that are provably nowhere. Its peers pass on to it what is asked of them. A group's name is
one node's: where two nodes keep a group of one name, nothing is sent to either.`}
	c.AddCommand(groupCreateCommand(a), groupListCommand(a), groupInspectCommand(a), groupScaleCommand(a), groupHealCommand(a), groupRemoveCommand(a))
	return c
}

func groupCreateCommand(a *cli.App) *cobra.Command {
	var need cli.Where
	var req api.CreateGroup
	var config, seedFile, passFile string
	c := &cobra.Command{Use: "create NAME KIND", Short: "Make a group and its members", Long: `Make a group of --size daemons of a kind, named NAME-0, NAME-1 and so on. They are made
one after the other, each where it is to be as "wasmhost place" explains: --spread and
--max-alike count the group's own members. Where one cannot be made there is no group.

--strategy says which member has an event: round-robin, one after the other;
least-loaded, who has the fewest under way from here; consistent-hash, by the --key of
the event, so that a member that comes or goes takes no other member's keys.

--seed FILE is a key file, of "wasmhost identity new", whose secret is the seed of the
members' identities: a group that is made again with it has the same ones.`, Example: `  wasmhost group create workers counter --size 3 --spread node
  wasmhost group create carts cart --size 8 --strategy consistent-hash --standbys 1`, Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) (err error) {
		req.Name, req.Kind, req.Config = args[0], args[1], []byte(config)
		if req.Place, err = need.Place(); err != nil {
			return err
		}
		if req.Seed, err = cli.SeedOf(seedFile, passFile); err != nil {
			return err
		}

		g, err := a.Client().Groups().Create(c.Context(), req)
		if err != nil {
			return err
		}
		return printGroup(a, g)
	}}

	c.Flags().IntVar(&req.Size, "size", 1, "how many members, 1 to 255")
	c.Flags().StringVar(&req.Strategy, "strategy", "round-robin", "round-robin, least-loaded or consistent-hash")
	c.Flags().StringVar(&config, "config", "", "configuration for each member, as the kind takes it; usually JSON")
	cli.MayBeEmpty(c, "config")
	c.Flags().StringVar(&seedFile, "seed", "", "key file whose secret is the seed of the members' identities; default: a new one")
	c.Flags().StringVar(&passFile, "passphrase-file", "", "file with the key file's passphrase")
	c.Flags().IntVar(&req.Standbys, "standbys", 0, "on how many other nodes of the cluster each member is kept")
	c.Flags().StringVar(&req.Ack, "ack", "", "when a standby holds an event: memory, as soon as it has it, or disk; default: memory")
	need.Declare(c)
	return c
}

func groupListCommand(a *cli.App) *cobra.Command {
	return cli.Printing(a, &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the groups of the node and its peers", Example: "  wasmhost group ls -o json", Args: cli.Exact(0)}, cli.Listing[api.Group]{
		Get:  func(c *cobra.Command) ([]api.Group, error) { return a.Client().Groups().List(c.Context(), true) },
		Head: "NAME\tKIND\tSIZE\tHEALTHY\tSTRATEGY\tKEPT BY\t+NODE ID",
		Row: func(g api.Group) string {
			return fmt.Sprintf("%s\t%s\t%d\t%d\t%s\t%s\t%s", g.Name, g.Kind, g.Size, g.Healthy, g.Strategy, keptBy(a, g), g.NodeID)
		},
		Name: func(g api.Group) string { return g.Name },
	})
}

// keptBy is the node that keeps a group, and those that keep another of the name.
func keptBy(a *cli.App, g api.Group) string {
	if len(g.AlsoAt) == 0 {
		return a.NodeName(g.NodeID)
	}
	return a.NodeName(g.NodeID) + ", ambiguous: also " + strings.Join(a.NodeNamed(g.AlsoAt), ", ")
}

// hereUsage is of the flag --here.
const hereUsage = "the group that the node itself keeps, though other nodes keep one of the name"

func groupInspectCommand(a *cli.App) *cobra.Command {
	var here bool
	c := &cobra.Command{Use: "inspect NAME...", Aliases: []string{"describe"}, Short: "Show groups and their members", Long: "Show groups and their members." + cli.SeveralHelp, Example: "  wasmhost group inspect workers", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		get := a.Client().Groups().Get
		if here {
			get = a.Client().Groups().GetHere
		}

		return a.Each(c, args, func(name string) error {
			g, err := get(c.Context(), name)
			if err != nil {
				return err
			}
			return printGroup(a, g)
		})
	}}

	c.Flags().BoolVar(&here, "here", false, hereUsage)
	return c
}

func groupScaleCommand(a *cli.App) *cobra.Command {
	var yes bool
	c := &cobra.Command{Use: "scale NAME SIZE", Short: "Make or stop members, until there are so many", Long: `Make a group larger or smaller. Those of the highest indices get no events from then on,
answer those that they have, and are stopped for good; new ones have the indices that
follow, and the identities that members of these indices had before, empty.

An event with an id that a member had which is gone is not applied again: it is refused
with binding-gone.`, Example: "  wasmhost group scale workers 5", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		size, err := strconv.Atoi(args[1])
		if err != nil {
			return cli.Usagef("SIZE is a number, not %q", args[1])
		}

		now, err := a.Client().Groups().Get(c.Context(), args[0])
		if err != nil {
			return err
		}
		if size < now.Size {
			if err := a.Confirm(yes, fmt.Sprintf("end %d daemons of group %s for good", now.Size-size, args[0])); err != nil {
				return err
			}
		}

		g, err := a.Client().Groups().Scale(c.Context(), args[0], size)
		if err != nil {
			return err
		}
		return printGroup(a, g)
	}}

	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func groupHealCommand(a *cli.App) *cobra.Command {
	var req api.HealGroup
	c := &cobra.Command{Use: "heal NAME", Short: "Look at a group's members now, and make lost ones anew", Long: `Look at the members now, and make those anew, empty, that are provably nowhere: every
node that could have them says that it does not. A node that does not answer may still
have one: --lost INDEX says that it will not come back with it. The member is made on
another node, under an epoch that is above any that the lost one can have, and what comes
back of it is stopped. An event with an id that the lost one had is not applied again: it
is refused with binding-gone. In a cluster a member that a standby has taken over is not
lost (member-alive), and one whose node still has a lease not yet (member-leased).`, Example: `  wasmhost group heal workers
  wasmhost group heal workers --lost 2`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		g, err := a.Client().Groups().Heal(c.Context(), args[0], req)
		if err != nil {
			return err
		}
		return printGroup(a, g)
	}}

	c.Flags().IntSliceVar(&req.Lost, "lost", nil, "index of a member that will not come back; may stand several times")
	return c
}

func groupRemoveCommand(a *cli.App) *cobra.Command {
	var yes, here bool
	c := &cobra.Command{Use: "rm NAME...", Aliases: []string{"remove", "delete"}, Short: "Stop the members of groups for good, and forget the groups", Long: "Stop the members of groups for good, and forget the groups." + cli.SeveralHelp, Example: "  wasmhost group rm workers --yes", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		if err := a.Confirm(yes, "end all daemons of "+cli.TargetsOf("group", args)+" for good"); err != nil {
			return err
		}

		remove := a.Client().Groups().Remove
		if here {
			remove = a.Client().Groups().RemoveHere
		}

		return a.Each(c, args, func(name string) error {
			g, err := remove(c.Context(), name)
			if err != nil {
				return err
			}
			return a.Print(g, func(w io.Writer) { fmt.Fprintf(w, "group %s is gone, and its %d members\n", g.Name, len(g.Members)) }, func() string { return g.Name })
		})
	}}

	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&here, "here", false, hereUsage)
	return c
}

func printGroup(a *cli.App, g api.Group) error {
	return a.Print(g, func(w io.Writer) {
		fmt.Fprintf(w, "group\t%s\nid\t%s\nkind\t%s\nkept by\t%s\nstrategy\t%s\nsenders\t%d are remembered\nmembers\t%d of %d are healthy\n", g.Name, g.ID, g.Kind, keptBy(a, g), g.Strategy, g.Senders, g.Healthy, g.Size)
		for _, m := range g.Members {
			fmt.Fprintf(w, "%s\ton %s, epoch %d, %s", m.Name, a.NodeName(m.NodeID), m.Epoch, m.Health)
			if m.Reason != "" {
				fmt.Fprintf(w, ": %s", a.WithNames(m.Reason, api.ExitOK))
			}
			fmt.Fprintln(w)
		}
	}, func() string { return g.Name })
}
