package daemons

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// parseSubscription reads NODE/CHANNEL and the token's file, if any.
func parseSubscription(a *cli.App, text, tokenFile string) (api.Subscribe, error) {
	var s api.Subscribe
	var err error
	if s.Publisher, s.Channel, err = cli.NodeChannel(text); err != nil || tokenFile == "" {
		return s, err
	}
	chain, err := a.ReadToken(tokenFile)
	if err == nil {
		s.Token, err = chain.Bytes()
	}
	return s, err
}

// Subscribe is the command subscribe.
func Subscribe(a *cli.App) *cobra.Command {
	var token string
	c := &cobra.Command{Use: "subscribe DAEMON NODE/CHANNEL", Short: "Subscribe a daemon to a channel of a node", Long: `Subscribe a daemon to a channel of a node, from the channel's next event on. The
subscription is the daemon's: it follows every move. Where the daemon is
subscribed already it goes on where it is, with the new token.`, Example: `  wasmhost subscribe c1 a/ticks
  wasmhost subscribe c1 a/orders/eu --token orders.token`, Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		s, err := parseSubscription(a, args[1], token)
		if err != nil {
			return err
		}
		list, err := a.Client().Channels().Subscribe(c.Context(), args[0], s)
		if err != nil {
			return err
		}
		return printSubscriptions(a, list)
	}}
	c.Flags().StringVar(&token, "token", "", "file with a permission token whose subject is the daemon")
	return c
}

// Unsubscribe is the command unsubscribe.
func Unsubscribe(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "unsubscribe DAEMON NODE/CHANNEL", Short: "End a daemon's subscription", Example: "  wasmhost unsubscribe c1 a/ticks", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		node, name, err := cli.NodeChannel(args[1])
		if err != nil {
			return err
		}
		list, err := a.Client().Channels().Unsubscribe(c.Context(), args[0], node, name)
		if err != nil {
			return err
		}
		return printSubscriptions(a, list)
	}}
}

func printSubscriptions(a *cli.App, list []api.Subscription) error {
	return cli.PrintList(a, list, "NODE\t+NODE ID\tCHANNEL\tCURSOR\tLAG\tSTATE", func(s api.Subscription) string {
		return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%s", a.NodeName(s.Publisher), s.Publisher, s.Channel, s.Cursor, s.Lag, stateOf(s))
	}, func(s api.Subscription) string { return s.Publisher + "/" + s.Channel })
}

func stateOf(s api.Subscription) string {
	if s.Reason != "" {
		return s.State + ": " + s.Reason
	}
	return s.State
}

func writeSubscriptions(a *cli.App, w io.Writer, list []api.Subscription) {
	for _, s := range list {
		fmt.Fprintf(w, "subscribed\t%s/%s\tcursor %d\tlag %d\t%s\n", a.NodeName(s.Publisher), s.Channel, s.Cursor, s.Lag, stateOf(s))
	}
}
