// Package daemons has the verbs of daemons: their life, their events, what they say, their
// moves, copies and versions, and the proof of what they did.
package daemons

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/daemon"
)

// Spawn is the command spawn.
func Spawn(a *cli.App) *cobra.Command {
	var name, keyFile, passFile, config string
	var limits, subscribe, mayPublish, maySend []string
	var token, publishToken, ack string
	var standbys int
	var need cli.Where
	c := &cobra.Command{Use: "spawn KIND [NAME]", Short: "Make a daemon", Long: `Make a daemon of a kind. It is addressed by its whole name, origin or entity
id. Commands that only look (inspect, logs, tail, chain show, receipt ls, quarantine ls)
take a unique beginning of the origin or entity id too, of at least four digits. A name
of 16 or 64 hexadecimal digits is refused; name:NAME addresses one from before.

With --where, --min-free or --max-alike it is made on a node, this or one that this one
trusts, that meets these; where none does, each is named with what it lacks (exit code
3). --prefer, --spread and --pack say which of them comes first; without, that which has
the most free capacity. "wasmhost place" explains. On another node it begins by moving there.

With --standbys N, on a node of a cluster, N other nodes keep what it does: an event
is answered when those that are in sync hold it, and one of them goes on with the
daemon when its node is lost.

A daemon publishes on channels, and sends to daemons, that it is granted here and on
no others: --may-publish NODE/CHANNEL, NODE/PREFIX/* for all beneath, NODE/* for all, or
a CHANNEL of this node; --may-send DAEMON, or '*' for all. A name means the daemon that
has it now, and is refused where none has. Grants go where it goes.`, Example: `  wasmhost spawn counter --name c3 --where zone=b
  wasmhost spawn counter c1
  wasmhost spawn counter --name c5 --standbys 1
  wasmhost spawn relay --name r1 --may-publish a/news --may-publish a/alarms/* --may-send c1
  wasmhost spawn counter --name c4 --identity c4.key --subscribe a/ticks --token ticks.token
  wasmhost spawn counter --name c2 --identity me.key --config '{"start":5}' -o json`, Args: cli.Between(1, 2), RunE: func(c *cobra.Command, args []string) error {
		if len(args) == 2 {
			if c.Flags().Changed("name") {
				return cli.Usagef("give the name once: as the second argument, or as --name")
			}
			if name = args[1]; name == "" {
				return cli.Usagef("NAME is empty: give one, or leave it out")
			}
		}
		req := api.Spawn{Kind: args[0], Name: name, Config: []byte(config)}
		own, err := daemon.ParseLimits(append(a.FileLimits("daemon", name), limits...))
		if err != nil {
			return err
		}
		req.Limits = own.Map()
		if need.Given() {
			p, err := need.Place()
			if err != nil {
				return err
			}
			req.Place = &p
		}
		if req.Identity, err = cli.SeedOf(keyFile, passFile); err != nil {
			return err
		}
		for _, text := range subscribe {
			s, err := parseSubscription(a, text, token)
			if err != nil {
				return err
			}
			req.Subscribe = append(req.Subscribe, s)
		}
		if req.MayPublish, err = parseMayPublish(a, mayPublish, publishToken); err != nil {
			return err
		}
		req.MaySend, req.Standbys, req.Ack = maySend, standbys, ack
		if token != "" && len(subscribe) == 0 {
			return cli.Usagef("--token is for --subscribe")
		}
		d, err := a.Client().Spawn(c.Context(), req)
		if err != nil {
			return err
		}
		return printDaemon(a, d)
	}}
	c.Flags().StringVar(&name, "name", "", "the daemon's name; default: from the kind and the origin")
	c.Flags().StringVar(&keyFile, "identity", "", "key file of the daemon's identity; default: a new identity")
	c.Flags().StringVar(&passFile, "passphrase-file", "", "file with the key file's passphrase")
	c.Flags().StringVar(&config, "config", "", "configuration for the daemon, as the kind takes it; usually JSON")
	cli.MayBeEmpty(c, "config")
	c.Flags().StringArrayVar(&limits, "limit", nil, "NAME=VALUE: "+cli.LimitHelp)
	c.Flags().StringArrayVar(&subscribe, "subscribe", nil, "NODE/CHANNEL: a channel to subscribe it to; if that fails, there is no daemon")
	c.Flags().StringVar(&token, "token", "", "file with a permission token for --subscribe, whose subject is the daemon")
	c.Flags().StringArrayVar(&mayPublish, "may-publish", nil, "NODE/CHANNEL, NODE/PREFIX/* or NODE/*: channels that it may publish on")
	c.Flags().StringVar(&publishToken, "publish-token", "", "file with a permission token for --may-publish, whose subject is the daemon")
	c.Flags().StringArrayVar(&maySend, "may-send", nil, "DAEMON, or * for all: daemons that it may send to")
	c.Flags().IntVar(&standbys, "standbys", 0, "on how many other nodes of the cluster it is kept, to go on there when its node is lost")
	c.Flags().StringVar(&ack, "ack", "", "when a standby holds an event: memory, as soon as it has it, or disk; default: memory")
	need.Declare(c)
	return c
}

func printDaemon(a *cli.App, d api.Daemon) error {
	return a.Print(d, func(w io.Writer) { writeDaemon(a, w, d) }, func() string { return d.Name })
}

func writeDaemon(a *cli.App, w io.Writer, d api.Daemon) {
	fmt.Fprintf(w, "name\t%s\norigin\t%s\nentity id\t%s\nkind\t%s\nnode\t%s\n", d.Name, d.Origin, d.EntityID, d.Kind, a.NodeName(d.NodeID))
	if a.Wide {
		fmt.Fprintf(w, "node id\t%s\n", d.NodeID)
	}
	fmt.Fprintf(w, "epoch\t%d\nsequence\t%d\nstate\t%s\n", d.Epoch, d.Sequence, d.State)
}

// PS is the command ps.
func PS(a *cli.App) *cobra.Command {
	var all bool
	c := &cobra.Command{Use: "ps", Aliases: []string{"list"}, Short: "List the node's daemons", Example: `  wasmhost ps
  wasmhost ps --filter kind=counter,state=running --sort-by -sequence
  wasmhost ps -w
  wasmhost ps --all -o jsonpath='{range .items[*]}{.name} {.node_id}{"\n"}{end}'`, Args: cli.Exact(0)}
	c.Flags().BoolVarP(&all, "all", "a", false, "the peers' daemons too, and those that left")
	return cli.Printing(a, c, cli.Listing[api.Daemon]{
		Get:  func(c *cobra.Command) ([]api.Daemon, error) { return a.Client().Daemons().List(c.Context(), all) },
		Head: "NAME\t+ORIGIN\tKIND\tNODE\t+NODE ID\tEPOCH\tSEQUENCE\tSTATE",
		Row: func(d api.Daemon) string {
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s", d.Name, d.Origin, d.Kind, a.NodeName(d.NodeID), d.NodeID, d.Epoch, d.Sequence, d.State)
		},
		Name: func(d api.Daemon) string { return d.Name },
	})
}

// Inspect is the command inspect.
func Inspect(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "inspect DAEMON...", Aliases: []string{"describe"}, Short: "Show daemons, wherever they are", Long: "Show daemons, wherever they are." + cli.SeveralHelp,
		Example: "  wasmhost inspect c1 -o json\n  wasmhost inspect c1 c2 -o yaml", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
			first := true
			return a.Each(c, args, func(ref string) error {
				d, err := a.Client().Looking().Daemons().Get(c.Context(), ref)
				if err != nil {
					return err
				}
				return a.Print(d, func(w io.Writer) {
					if !first {
						fmt.Fprintln(w)
					}
					first = false
					writeWhole(a, w, d)
				}, func() string { return d.Name })
			})
		}}
}

// writeWhole writes all that is known of a daemon.
func writeWhole(a *cli.App, w io.Writer, d api.Daemon) {
	writeDaemon(a, w, d)
	fmt.Fprintf(w, "events\t%d processed, %d failed\noutputs\t%d\nmodule\t%s\nmemory\t%s\nhead\t%s\nspawned\t%s\n",
		d.EventsProcessed, d.Errors, d.EventsEmitted, d.Module, cli.Size(d.MemoryBytes), d.Head, d.Spawned.Format("2006-01-02 15:04:05Z07:00"))
	cli.WriteUsed(w, d.Used)
	if f := d.Fork; f != nil {
		fmt.Fprintf(w, "fork of\t%s, after its output %d\n", a.DaemonName(f.Parent), f.Sequence)
	}
	if d.Reason != "" {
		fmt.Fprintf(w, "reason\t%s\n", d.Reason)
	}
	if d.Unstored != "" {
		fmt.Fprintf(w, "not stored\t%s\n", d.Unstored)
	}
	if l := d.Loss; l != nil {
		fmt.Fprintf(w, "lost\t%s\n", lossText(l))
	}
	if k := d.Cluster; k != nil && k.Standbys > 0 {
		fmt.Fprintf(w, "standbys\t%d of %d in sync (%s): %s\n", len(k.InSync), k.Standbys, k.Ack, strings.Join(a.NodeNamed(k.InSync), ", "))
	}
	writeSubscriptions(a, w, d.Subscriptions)
	writeEffects(a, w, d.Effects)
	for _, r := range d.Receipts {
		fmt.Fprintf(w, "moved\tfrom %s to %s, epoch %d, downtime %.1f ms, receipt %.16s\n", a.NodeName(r.From), a.NodeName(r.To), r.Epoch, r.DowntimeMS, r.Digest)
	}
}

// Stop is the command stop.
func Stop(a *cli.App) *cobra.Command {
	var yes bool
	c := &cobra.Command{Use: "stop DAEMON...", Short: "Stop daemons until they are started", Long: `Stop a daemon until it is started: events are refused with daemon-stopped, and its
timers, what it sent, and what daemons and channels have for it wait. Its state stays;
it can be inspected, moved, saved and forked. It stays stopped when its node starts
again, and where it moves to.` + cli.SeveralHelp, Example: "  wasmhost stop c1\n  wasmhost stop c1 c2 c3\n  wasmhost start c1", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		return a.Each(c, args, func(ref string) error {
			d, err := a.Client().Daemons().Stop(c.Context(), ref)
			if err != nil {
				return err
			}
			return a.Print(d, func(w io.Writer) {
				fmt.Fprintf(w, "%s is stopped, after %d outputs; wasmhost start %s undoes it\n", d.Name, d.Sequence, d.Name)
			}, func() string { return d.Name })
		})
	}}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask: nothing is asked")
	return c
}

// Start is the command start.
func Start(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "start DAEMON...", Short: "Start daemons that were stopped", Long: "Start daemons that were stopped." + cli.SeveralHelp, Example: "  wasmhost start c1 c2", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		return a.Each(c, args, func(ref string) error {
			d, err := a.Client().Daemons().Start(c.Context(), ref)
			if err != nil {
				return err
			}
			return a.Print(d, func(w io.Writer) { fmt.Fprintf(w, "%s is started, after %d outputs\n", d.Name, d.Sequence) }, func() string { return d.Name })
		})
	}}
}

// Remove is the command rm.
func Remove(a *cli.App) *cobra.Command {
	var yes bool
	c := &cobra.Command{Use: "rm DAEMON...", Aliases: []string{"remove", "delete"}, Short: "Remove daemons for good: their state, history and keys are gone",
		Long:    "Remove daemons for good: their state, history and keys are gone." + cli.SeveralHelp,
		Example: "  wasmhost rm c1 --yes\n  wasmhost rm c1 c2 c3", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
			if err := a.Confirm(yes, "remove "+cli.TargetsOf("daemon", args)+" for good"); err != nil {
				return err
			}
			return a.Each(c, args, func(ref string) error {
				d, err := a.Client().Daemons().Remove(c.Context(), ref)
				if err != nil {
					return err
				}
				return a.Print(d, func(w io.Writer) { fmt.Fprintf(w, "%s is removed, after %d outputs\n", d.Name, d.Sequence) }, func() string { return d.Name })
			})
		}}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// Tail is the command tail.
func Tail(a *cli.App) *cobra.Command {
	var after string
	c := &cobra.Command{Use: "tail DAEMON", Short: "Print a daemon's outputs as they become durable", Long: `Print a daemon's outputs, each once it is durable, from now on; with --after from
that after a sequence, 0 for all of them. ORIGIN:SEQUENCE holds for that daemon alone: of
another one of its name, or where it has made no such output, it is refused (cursor-gone). The tail follows the daemon wherever it
moves, without a gap; when it is removed the command fails with daemon-removed (exit code 4).`, Example: `  wasmhost tail c1
  wasmhost tail c1 --after 0 -o jsonl`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		if _, err := broker.ParseCursor(after); after != "" && err != nil {
			return cli.Usagef("--after %q is neither a sequence nor ORIGIN:SEQUENCE", after)
		}
		err := a.Client().Looking().Tail(c.Context(), args[0], after, a.PrintOutput)
		return cli.UntilInterrupted(c, err)
	}}
	c.Flags().StringVar(&after, "after", "", "begin after the output of this sequence, or ORIGIN:SEQUENCE; default: with the next")
	return c
}
