package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost/wire/control"
)

func (a *app) node() *cobra.Command {
	c := &cobra.Command{Use: "node", Short: "Nodes: this one and those it trusts"}
	c.AddCommand(a.nodeList("ls", "List this node and its peers", false))
	var ttl time.Duration
	token := &cobra.Command{Use: "token", Short: "Print a token with which another node can join, once", Args: exact(0), RunE: func(c *cobra.Command, _ []string) error {
		t, err := a.client().Token(c.Context(), ttl)
		if err != nil {
			return err
		}
		return a.print(t, func(w io.Writer) { fmt.Fprintln(w, t.Token) }, func() string { return t.Token })
	}}
	token.Flags().DurationVar(&ttl, "ttl", time.Hour, "for how long the token is good")
	trust := &cobra.Command{Use: "trust", Short: "Trusted nodes"}
	var yes bool
	rm := &cobra.Command{Use: "rm NODE", Short: "Trust a node no longer", Args: exact(1), RunE: func(c *cobra.Command, args []string) error {
		if err := a.confirm(yes, "end the trust in node "+args[0]); err != nil {
			return err
		}
		return a.client().Distrust(c.Context(), args[0])
	}}
	rm.Flags().BoolVar(&yes, "yes", false, "do not ask")
	trust.AddCommand(a.nodeList("ls", "List the trusted nodes", true), rm)
	c.AddCommand(token, trust)
	return c
}

func (a *app) nodeList(use, short string, peersOnly bool) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: exact(0), RunE: func(c *cobra.Command, _ []string) error {
		nodes, err := a.client().Nodes(c.Context())
		if err != nil {
			return err
		}
		if peersOnly {
			nodes = nodes[1:]
		}
		return printList(a, nodes, "NODE\tNAME\tADDRESS\tSTATE", func(n control.Node) string {
			state := "not connected"
			switch {
			case n.Self:
				state = "this node"
			case n.Online:
				state = "connected"
			}
			return fmt.Sprintf("%s\t%s\t%s\t%s", n.NodeID, n.Name, n.Addr, state)
		}, func(n control.Node) string { return n.NodeID })
	}}
}
