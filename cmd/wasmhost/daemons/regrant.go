package daemons

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// granted are the flags that say what a daemon may do.
type granted struct {
	publish, send []string
	token         string
}

// declare gives c the flags; with tokens also that of a token for --may-publish.
func (g *granted) declare(c *cobra.Command, tokens bool) {
	c.Flags().StringArrayVar(&g.publish, "may-publish", nil, "NODE/CHANNEL, NODE/PREFIX/* or NODE/*: channels that it may publish on")
	c.Flags().StringArrayVar(&g.send, "may-send", nil, "DAEMON, or * for all: daemons that it may send to")
	if tokens {
		c.Flags().StringVar(&g.token, "publish-token", "", "file with a permission token for --may-publish, whose subject is the daemon")
	}
}

// grants are what the flags name, or an error of usage where they name nothing.
func (g *granted) grants(a *cli.App, c *cobra.Command) (out api.Grants, err error) {
	if len(g.publish)+len(g.send) == 0 {
		return out, cli.Usagef("%s needs --may-publish or --may-send", c.CommandPath())
	}
	out.MayPublish, err = parseMayPublish(a, g.publish, g.token)
	out.MaySend = g.send
	return out, err
}

// Grant is the command grant.
func Grant(a *cli.App) *cobra.Command {
	var g granted
	c := &cobra.Command{Use: "grant DAEMON...", Short: "Let daemons that run publish or send more", Long: `Let daemons publish on channels, or send to other daemons, beside what they may do already:
--may-publish and --may-send are as those of spawn. It holds from a daemon's next event on, is
durable, and goes where the daemon goes. What may be done is in "wasmhost inspect".

A name means the daemon that has it now, whatever is called so later; an entity id may be
of a daemon that is still to be made ("wasmhost identity new" prints one). Two daemons that
send to each other are two lines.` + cli.SeveralHelp, Example: `  wasmhost grant ping --may-send pong
  wasmhost grant pong --may-send ping
  wasmhost grant r1 --may-publish a/alarms/* --dry-run`, Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		added, err := g.grants(a, c)
		if err != nil {
			return err
		}
		return regrant(a, c, args, api.ChangeGrants{Grant: added})
	}}
	g.declare(c, true)
	return c
}

// Revoke is the command revoke.
func Revoke(a *cli.App) *cobra.Command {
	var g granted
	c := &cobra.Command{Use: "revoke DAEMON...", Short: "Take from daemons that run what they may publish or send", Long: `Take from daemons what they were granted, at spawn or later, by the same words:
--may-send '*' takes away that a daemon may send to all, and leaves those that were named.
It holds from a daemon's next event on; what it sent before still arrives. What was not
granted is no error.` + cli.SeveralHelp, Example: `  wasmhost revoke ping --may-send pong
  wasmhost revoke r1 --may-publish a/alarms/*`, Args: cli.AtLeast(1), RunE: func(c *cobra.Command, args []string) error {
		revoked, err := g.grants(a, c)
		if err != nil {
			return err
		}
		return regrant(a, c, args, api.ChangeGrants{Revoke: revoked})
	}}
	g.declare(c, false)
	return c
}

// regrant changes what each daemon may do, and prints what it may do then.
func regrant(a *cli.App, c *cobra.Command, refs []string, change api.ChangeGrants) error {
	return a.Each(c, refs, func(ref string) error {
		now, err := a.Client().Daemons().ChangeGrants(c.Context(), ref, change)
		if err != nil {
			return err
		}
		return a.Print(now, func(w io.Writer) {
			if len(now.MayPublish)+len(now.MaySend) == 0 {
				fmt.Fprintf(w, "%s may publish and send nowhere\n", cli.OneLine(ref))
				return
			}
			fmt.Fprintf(w, "daemon\t%s\n", cli.OneLine(ref))
			writeGrants(a, w, now.MayPublish, now.MaySend)
		}, func() string { return ref })
	})
}

// writeGrants writes what a daemon may do.
func writeGrants(a *cli.App, w io.Writer, publish []api.MayPublish, send []string) {
	for _, g := range publish {
		fmt.Fprintf(w, "may publish\t%s/%s\n", a.NodeName(g.Node), g.Pattern)
	}
	for _, id := range send {
		fmt.Fprintf(w, "may send to\t%s\n", a.DaemonName(id))
	}
}
