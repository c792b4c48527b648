package daemons

import (
	"fmt"
	"io"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// parseMayPublish reads --may-publish, and the token's file, if any.
func parseMayPublish(a *cli.App, texts []string, tokenFile string) ([]api.MayPublish, error) {
	if tokenFile != "" && len(texts) == 0 {
		return nil, cli.Usagef("--publish-token is for --may-publish")
	}
	var token []byte
	if tokenFile != "" {
		chain, err := a.ReadToken(tokenFile)
		if err == nil {
			token, err = chain.Bytes()
		}
		if err != nil {
			return nil, err
		}
	}
	var out []api.MayPublish
	for _, text := range texts {
		g := api.MayPublish{Pattern: text, Token: token}
		if strings.Contains(text, "/") {
			var err error
			if g.Node, g.Pattern, err = cli.NodeChannel(text); err != nil {
				return nil, err
			}
		}
		out = append(out, g)
	}
	return out, nil
}

// writeEffects shows what a daemon may do, and what is on its way.
func writeEffects(a *cli.App, w io.Writer, e *api.Effects) {
	if e == nil {
		return
	}
	writeGrants(a, w, e.MayPublish, e.MaySend)
	for _, p := range e.Pending {
		to := a.DaemonName(p.Daemon)
		if p.Channel != "" {
			to = a.NodeName(p.Node) + "/" + p.Channel
		}
		fmt.Fprintf(w, "on its way\tto %s\t%d events, %s", to, p.Events, cli.Size(p.Bytes))
		if p.Reason != "" {
			fmt.Fprintf(w, ": %s", p.Reason)
		}
		fmt.Fprintln(w)
	}
	if e.PassedOver > 0 {
		fmt.Fprintf(w, "passed over\t%d events of timers, daemons and channels\n", e.PassedOver)
	}
	if e.Lost > 0 {
		fmt.Fprintf(w, "lost\t%d events that it sent\n", e.Lost)
	}
	for _, c := range e.Calls {
		until := "without a deadline"
		if c.Deadline != nil {
			until = "until " + c.Deadline.Format("2006-01-02 15:04:05.000Z07:00")
		}
		fmt.Fprintf(w, "asked\t%s\tcall %d, %s\n", a.DaemonName(c.Daemon), c.Number, until)
	}
	for _, o := range e.Owes {
		fmt.Fprintf(w, "owes an answer to\t%s\tof event %d\n", a.DaemonName(o.Daemon), o.Number)
	}
	if e.Replies > 0 {
		fmt.Fprintf(w, "on its way\t%d answers\n", e.Replies)
	}
	if e.Late > 0 {
		fmt.Fprintf(w, "came too late\t%d answers to calls of its own\n", e.Late)
	}
	for _, t := range e.Timers {
		fmt.Fprintf(w, "timer\t%d at %s\n", t.Number, t.At.Format("2006-01-02 15:04:05.000Z07:00"))
	}
}
