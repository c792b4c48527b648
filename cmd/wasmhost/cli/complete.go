package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/contexts"
)

// completeTime is how long a shell waits for names that the node knows.
const completeTime = time.Second

// maxCompletions is how many names are offered.
const maxCompletions = 1000

// named are names that stand for an argument or a flag, and what is said of each.
type named func(ctx context.Context, a *App, c *client.Client) ([]cobra.Completion, error)

func namedList[T any](get func(context.Context, *client.Client) ([]T, error), name, says func(T) string) named {
	return func(ctx context.Context, _ *App, c *client.Client) ([]cobra.Completion, error) {
		list, err := get(ctx, c)
		var out []cobra.Completion
		for _, v := range list {
			out = append(out, cobra.CompletionWithDesc(name(v), says(v)))
		}
		return out, err
	}
}

func daemonNames(state string) named {
	return namedList(func(ctx context.Context, c *client.Client) ([]api.Daemon, error) {
		list, err := c.Daemons().List(ctx, true)
		return slices.DeleteFunc(list, func(d api.Daemon) bool { return state != "" && (d.State == "stopped") != (state == "stopped") }), err
	}, func(d api.Daemon) string { return d.Name }, func(d api.Daemon) string { return d.Kind + ", " + d.State })
}

var (
	kindNames = namedList(func(ctx context.Context, c *client.Client) ([]api.Kind, error) { return c.Kinds().List(ctx) },
		func(k api.Kind) string { return k.Name }, func(k api.Kind) string { return "kind" })
	nodeNamesKnown = namedList(func(ctx context.Context, c *client.Client) ([]api.Node, error) { return c.Nodes().List(ctx) },
		func(n api.Node) string { return OrID(n.Name, n.NodeID) }, NodeState)
	groupNames = namedList(func(ctx context.Context, c *client.Client) ([]api.Group, error) { return c.Groups().List(ctx, true) },
		func(g api.Group) string { return g.Name }, func(g api.Group) string { return "group of " + g.Kind })
	groupRefs = namedList(func(ctx context.Context, c *client.Client) ([]api.Group, error) { return c.Groups().List(ctx, true) },
		func(g api.Group) string { return GroupRef + g.Name }, func(g api.Group) string { return "group of " + g.Kind })
	channelNames = namedList(func(ctx context.Context, c *client.Client) ([]api.Channel, error) {
		return c.Channels().List(ctx, client.AtNode{})
	}, func(c api.Channel) string { return c.Name }, func(c api.Channel) string { return "channel" })
)

// arguments of commands whose names the node knows, by the command's path; the last holds
// for all that follow where many is set.
type completed struct {
	arguments [][]named
	many      bool
}

var completions = map[string]completed{
	"spawn": one(kindNames), "place": one(kindNames),
	"inspect": several(daemonNames("")), "stop": several(daemonNames("running")), "start": several(daemonNames("stopped")), "rm": several(daemonNames("")),
	"logs": several(daemonNames("")), "query": one(daemonNames("")), "tail": one(daemonNames("")), "fork": one(daemonNames("")), "subscribe": one(daemonNames("")), "unsubscribe": one(daemonNames("")),
	"grant": several(daemonNames("")), "revoke": several(daemonNames("")),
	"send": {arguments: [][]named{{daemonNames(""), groupRefs}}}, "upgrade": {arguments: [][]named{{daemonNames(""), groupRefs}}},
	"migrate":       {arguments: [][]named{{daemonNames("")}, {nodeNamesKnown, daemonNames("")}}, many: true},
	"quarantine ls": one(daemonNames("")), "quarantine show": one(daemonNames("")), "quarantine retry": one(daemonNames("")), "quarantine skip": one(daemonNames("")),
	"snapshot save": one(daemonNames("")), "chain show": one(daemonNames("")), "chain export": one(daemonNames("")), "receipt ls": one(daemonNames("")), "receipt save": one(daemonNames("")),
	"kind inspect": several(kindNames), "kind rm": several(kindNames), "kind pull": one(kindNames), "kind push": one(kindNames),
	"node inspect": several(nodeNamesKnown), "node drain": one(nodeNamesKnown), "node undrain": one(nodeNamesKnown), "node trust rm": one(nodeNamesKnown), "node trust grant": one(nodeNamesKnown),
	"group inspect": several(groupNames), "group rm": several(groupNames), "group scale": one(groupNames), "group heal": one(groupNames), "group create": {arguments: [][]named{{}, {kindNames}}},
	"channel inspect": several(channelNames), "channel rm": several(channelNames), "channel pub": one(channelNames), "channel sub": one(channelNames),
}

func one(n named) completed     { return completed{arguments: [][]named{{n}}} }
func several(n named) completed { return completed{arguments: [][]named{{n}}, many: true} }

// completedFlags are flags whose values the node knows.
var completedFlags = map[string]named{"to": nodeNamesKnown, "may-send": daemonNames(""), "node": nodeNamesKnown, "kind": kindNames}

// completeNames has shells complete the names that the node knows.
func (a *App) completeNames(root *cobra.Command) {
	for path, of := range completions {
		for _, words := range [][]string{strings.Fields(path), append([]string{"daemon"}, strings.Fields(path)...)} {
			c, rest, err := root.Find(words)
			if err != nil || len(rest) > 0 {
				if words[0] == "daemon" {
					continue // it has no long form
				}
				panic("no command " + path) // the table is ours
			}
			c.ValidArgsFunction = func(c *cobra.Command, args []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
				at := len(args)
				if of.many {
					at = min(at, len(of.arguments)-1)
				}
				if at >= len(of.arguments) {
					return nil, cobra.ShellCompDirectiveDefault
				}
				return a.complete(c, of.arguments[at], args, begin), cobra.ShellCompDirectiveNoFileComp
			}
		}
	}
	a.completeFlags(root)
	if err := root.RegisterFlagCompletionFunc("context", a.contextNames); err != nil {
		panic(err) // root has the flag
	}
	for _, sub := range []string{"use", "rm", "show"} {
		c, rest, err := root.Find([]string{"context", sub})
		if err != nil || len(rest) > 0 {
			panic("no command context " + sub)
		}
		c.ValidArgsFunction = a.contextNames
	}
}

func (a *App) completeFlags(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.completeFlags(sub)
	}
	for flag, names := range completedFlags {
		if c.Flags().Lookup(flag) == nil || c.Name() == "upgrade" && flag == "to" {
			continue
		}
		err := c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return a.complete(c, []named{names}, nil, begin), cobra.ShellCompDirectiveNoFileComp
		})
		if err != nil {
			panic(err) // the flag was looked up
		}
	}
}

// complete asks the node for names that begin so and are not given yet. A node that does
// not answer, or knows none, is as one without names.
func (a *App) complete(c *cobra.Command, from []named, given []string, begin string) []cobra.Completion {
	a.Settings = nil // those of c, whose flags are read by now
	if a.connect(c) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(a.context(), completeTime)
	defer cancel()
	a.Format = "table" // names are printable
	client := a.Client()
	var out []cobra.Completion
	for _, names := range from {
		list, err := names(ctx, a, client)
		if err != nil {
			continue
		}
		for _, completion := range list {
			name, _, _ := strings.Cut(completion, "\t")
			if strings.HasPrefix(name, begin) && !slices.Contains(given, name) && len(out) < maxCompletions {
				out = append(out, completion)
			}
		}
	}
	return out
}

// contextNames completes the names of contexts.
func (a *App) contextNames(_ *cobra.Command, _ []string, begin string) ([]cobra.Completion, cobra.ShellCompDirective) {
	set, err := contexts.Read(ContextsFile())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, c := range append([]contexts.Context{{Name: contexts.Default, Socket: SettingOf("socket").Def}}, set.List()...) {
		if strings.HasPrefix(c.Name, begin) {
			out = append(out, cobra.CompletionWithDesc(c.Name, Target{Context: c}.Address()))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
