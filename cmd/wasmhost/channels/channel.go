// Package channels has the verb channel.
package channels

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/broker"
)

// Channel is the command channel.
func Channel(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "channel", Aliases: []string{"channels"}, Short: "Manage channels: logs of events that daemons subscribe to", Long: `Channels: logs of events that daemons subscribe to. A node owns its channels and
publishes on them; a daemon that is subscribed gets every event once, in order,
wherever it moves. The outputs of each daemon are a channel too, out/ORIGIN.

Names are of segments of a-z 0-9 - _ . with / between them.`}
	c.AddCommand(channelCreateCommand(a), channelListCommand(a), channelInspectCommand(a), channelRemoveCommand(a), channelPublishCommand(a), channelFollowCommand(a))
	return c
}

// elsewhere are the flags of a channel of another node.
type elsewhere struct{ node, token string }

func (e *elsewhere) flags(c *cobra.Command) {
	c.Flags().StringVar(&e.node, "node", "", "the node whose channel it is: id or name, whole; default: this one")
	c.Flags().StringVar(&e.token, "token", "", "file with a permission token whose subject is this node")
}

func (e *elsewhere) at(a *cli.App) (client.AtNode, error) {
	at := client.AtNode{Node: e.node}
	if e.token == "" {
		return at, nil
	}

	chain, err := a.ReadToken(e.token)
	if err == nil {
		at.Token, err = chain.Text()
	}
	return at, err
}

func channelCreateCommand(a *cli.App) *cobra.Command {
	var req api.CreateChannel
	var roots []string
	var keep time.Duration
	c := &cobra.Command{Use: "create CHANNEL", Short: "Make a channel of this node", Long: `Make a channel of this node. With --token-roots it is gated: who publishes or
subscribes presents a token that one of these keys issued, or that was delegated
from one. The node's owner needs none.

The log keeps the newest events within the --keep bounds. A daemon that falls
further behind gets a gap in place of what it missed.`, Example: `  wasmhost channel create ticks
  wasmhost channel create orders/eu --token-roots root.key --keep-events 100000
  wasmhost channel create sensors --family --token-roots root.key`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		req.Name = args[0]
		if keep != 0 {
			req.KeepFor = keep.String()
		}

		for _, r := range roots {
			id, err := cli.Subject(r)
			if err != nil {
				return fmt.Errorf("--token-roots: %w", err)
			}
			req.Roots = append(req.Roots, id.String())
		}

		ch, err := a.Client().Channels().Create(c.Context(), req)
		if err != nil {
			return err
		}
		return printChannel(a, ch)
	}}

	c.Flags().StringSliceVar(&roots, "token-roots", nil, "keys whose tokens are good: entity ids or key files, with commas between")
	c.Flags().BoolVar(&req.Gated, "gated", false, "ask for a token even without roots: the node's owner alone then uses it")
	c.Flags().BoolVar(&req.Family, "family", false, "the channels beneath it come to be, with the same bounds and roots, when they are first used")
	c.Flags().Uint64Var(&req.KeepEvents, "keep-events", 0, "how many events are kept; default 65536")
	c.Flags().Int64Var(&req.KeepBytes, "keep-bytes", 0, "how many bytes of events are kept; default 64 MiB")
	c.Flags().DurationVar(&keep, "keep-for", 0, "for how long events are kept; default 168h, negative: for ever")
	return c
}

const channelHead = "CHANNEL\tNODE\t+NODE ID\tGATED\tEVENTS\tFIRST\tNEXT"

func channelRow(a *cli.App, c api.Channel) string {
	return fmt.Sprintf("%s\t%s\t%s\t%t\t%d\t%d\t%d", c.Name, a.NodeName(c.NodeID), c.NodeID, c.Gated, c.Events, c.First, c.Next)
}

func printChannel(a *cli.App, ch api.Channel) error {
	if a.Format != "table" {
		return a.Print(ch, nil, func() string { return ch.Name })
	}
	return cli.PrintList(a, []api.Channel{ch}, channelHead, func(c api.Channel) string { return channelRow(a, c) }, nil)
}

func channelListCommand(a *cli.App) *cobra.Command {
	var of elsewhere
	c := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List a node's channels", Example: "  wasmhost channel ls -o json", Args: cli.Exact(0)}
	cli.Printing(a, c, cli.Listing[api.Channel]{
		Get: func(c *cobra.Command) ([]api.Channel, error) {
			at, err := of.at(a)
			if err != nil {
				return nil, err
			}
			return a.Client().Channels().List(c.Context(), at)
		},
		Head: channelHead, Row: func(c api.Channel) string { return channelRow(a, c) },
		Name: func(ch api.Channel) string { return ch.Name },
	})

	c.Flags().StringVar(&of.node, "node", "", "the node whose channels are listed; default: this one")
	return c
}

func channelInspectCommand(a *cli.App) *cobra.Command {
	var of elsewhere
	c := &cobra.Command{Use: "inspect CHANNEL...", Aliases: []string{"describe"}, Short: "Show channels and who hears them", Long: "Show channels and who hears them." + cli.SeveralHelp, Example: "  wasmhost channel inspect ticks", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		at, err := of.at(a)
		if err != nil {
			return err
		}

		return a.Each(c, args, func(name string) error {
			ch, err := a.Client().Channels().Get(c.Context(), name, at)
			if err != nil {
				return err
			}
			if err := printChannel(a, ch); err != nil || a.Format != "table" {
				return err
			}

			return a.Print(ch, func(w io.Writer) { writeChannel(a, w, ch) }, nil)
		})
	}}

	of.flags(c)
	return c
}

// writeChannel writes what the row of a channel does not say.
func writeChannel(a *cli.App, w io.Writer, ch api.Channel) {
	for _, r := range ch.Roots {
		fmt.Fprintf(w, "root\t%s\n", r)
	}
	fmt.Fprintf(w, "keeps\t%d events, %s, %s\n", ch.KeepEvents, cli.Size(ch.KeepBytes), ch.KeepFor)
	for _, s := range ch.Subscribers {
		fmt.Fprintf(w, "subscriber\t%s on node %s\tcursor %d\tlag %d\n", a.DaemonName(s.Origin), a.NodeName(s.NodeID), s.Cursor, s.Lag)
	}
}

func channelRemoveCommand(a *cli.App) *cobra.Command {
	var of elsewhere
	var yes bool
	c := &cobra.Command{Use: "rm CHANNEL...", Aliases: []string{"remove", "delete"}, Short: "Forget channels and their events", Long: "Forget channels and their events." + cli.SeveralHelp, Example: "  wasmhost channel rm ticks --yes", Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		if err := a.Confirm(yes, "forget "+cli.TargetsOf("channel", args)+" and all events there"); err != nil {
			return err
		}

		at, err := of.at(a)
		if err != nil {
			return err
		}

		return a.Each(c, args, func(name string) error {
			ch, err := a.Client().Channels().Remove(c.Context(), name, at)
			if err != nil {
				return err
			}
			return a.Print(ch, func(w io.Writer) { fmt.Fprintf(w, "%s is removed, after %d events\n", ch.Name, ch.Next-1) }, func() string { return ch.Name })
		})
	}}

	of.flags(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func channelPublishCommand(a *cli.App) *cobra.Command {
	var of elsewhere
	c := &cobra.Command{Use: "pub CHANNEL [DATA | -]", Aliases: []string{"publish"}, Short: "Publish events on a channel", Long: `Publish one event: DATA (or --data), a file (-f), or standard input, all of it, with - or
where it is no terminal and nothing else is given. Or publish each line of a file as one event, in
order and pipelined (--lines FILE, or --lines - for standard input). What ends a
line, LF or CRLF, is not part of its event. The command returns when the events
are durable, and prints the sequences that they have.`, Example: `  wasmhost channel pub ticks hello
  wasmhost channel pub ticks --lines events.txt -o json
  wasmhost channel pub ticks --node b --token publish.token --data hello`, Args: cli.Between(1, 2), RunE: func(c *cobra.Command, args []string) error {
		source, err := a.EventSource(c, args[1:])
		if err != nil {
			return err
		}

		at, err := of.at(a)
		if err != nil {
			return err
		}

		next, done, err := eventsOf(a, source)
		if err != nil {
			return err
		}

		defer done()
		sum := api.Published{}
		err = a.Client().Channels().PublishAll(c.Context(), args[0], at, next, func(p api.Published) error {
			if sum.Count == 0 {
				sum.First = p.First
			}
			sum.Count += p.Count
			return nil
		})
		if err != nil {
			if sum.Count > 0 {
				fmt.Fprintln(a.Err, publishedText(sum))
			}
			return err
		}

		return a.Print(sum, func(w io.Writer) { fmt.Fprintln(w, publishedText(sum)) },
			func() string { return fmt.Sprint(sum.First) })
	}}

	of.flags(c)
	cli.DeclareEvents(c)
	return c
}

func publishedText(p api.Published) string {
	if p.Count == 1 {
		return fmt.Sprintf("1 event is published, as %d", p.First)
	}
	return fmt.Sprintf("%d events are published, from %d on", p.Count, p.First)
}

// eventsOf returns what gives one event after the other, until io.EOF.
func eventsOf(a *cli.App, source cli.EventSource) (next func() ([]byte, error), done func(), err error) {
	if source.Lines != "" {
		in, err := a.Open(source.Lines)
		if err != nil {
			return nil, nil, err
		}
		return cli.LineReader(in), func() { _ = in.Close() }, nil // it was only read
	}

	event, err := source.Read(a)
	spent := false
	return func() ([]byte, error) {
		if spent {
			return nil, io.EOF
		}
		spent = true
		return event, nil
	}, func() {}, err
}

func channelFollowCommand(a *cli.App) *cobra.Command {
	var of elsewhere
	var after string
	var count uint64
	c := &cobra.Command{Use: "sub CHANNEL", Short: "Print a channel's events as they are published", Long: `Print a channel's events, each once it is durable, from now on; with --after from
that after a sequence, 0 for all that are kept, or after a cursor. -o jsonl gives each
event's cursor: it names the channel's birth, so that one of a channel that was removed and
made anew under its name is refused (channel-changed) instead of missing events. A gap is
told on standard error; when the channel is removed the command fails with channel-removed.
To subscribe a daemon see wasmhost subscribe.`, Example: `  wasmhost channel sub ticks
  wasmhost channel sub ticks --after 0 --count 10 -o jsonl`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		at, err := of.at(a)
		if err != nil {
			return err
		}
		if _, err := broker.ParseCursor(after); after != "" && err != nil {
			return cli.Usagef("--after %q is neither a sequence nor a cursor", after)
		}

		left := count
		err = a.Client().Channels().Follow(c.Context(), args[0], at, after, func(ev api.ChannelEvent) error {
			if err := printChannelEvent(a, ev); err != nil {
				return err
			}
			if ev.Lost > 0 {
				return nil
			}
			if left--; left == 0 && count > 0 {
				return cli.ErrEnough
			}

			return nil
		})
		if errors.Is(err, cli.ErrEnough) {
			return nil
		}

		return cli.UntilInterrupted(c, err)
	}}

	of.flags(c)
	c.Flags().StringVar(&after, "after", "", "begin after the event of this sequence, or cursor; default: with the next")
	c.Flags().Uint64Var(&count, "count", 0, "end after so many events; default: never")
	return c
}

func printChannelEvent(a *cli.App, ev api.ChannelEvent) error {
	if a.Format == "json" || a.Format == "jsonl" {
		return json.NewEncoder(a.Out).Encode(ev)
	}
	if ev.Lost > 0 {
		_, err := fmt.Fprintf(a.Err, "events %d to %d are no longer kept\n", ev.Sequence, ev.Lost)
		return err
	}

	b, err := base64.StdEncoding.DecodeString(ev.Payload)
	if err == nil {
		_, err = a.Payloads().Write(append(b, '\n'))
	}
	return err
}
