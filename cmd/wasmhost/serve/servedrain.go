package serve

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/drain"
	"wasmhost.example/node"
)

// drainOptions are the settings that say what a node does with its daemons when
// it is told to end.
type drainOptions struct {
	on       bool
	to       []string
	deadline time.Duration
}

func (o *drainOptions) read(c *cobra.Command, to cli.List) (err error) {
	text := func(name string) string { return c.Flags().Lookup(name).Value.String() }
	*o, err = newDrainOptions(text("drain"), to, text("drain-deadline"))
	return err
}

func newDrainOptions(on string, to cli.List, deadline string) (o drainOptions, err error) {
	o.to, o.on = to.Texts, on == "true" || len(to.Texts) > 0
	if o.deadline, err = time.ParseDuration(deadline); err != nil || o.deadline <= 0 {
		return o, cli.Usagef("--drain-deadline %q is not a duration such as 60s", deadline)
	}
	return o, nil
}

// run drains the node before it ends.
func (o drainOptions) run(n *node.Node, logger *slog.Logger) error {
	if !o.on {
		return nil
	}

	ctx, cancel := context.WithTimeout(context.Background(), o.deadline)
	defer cancel()
	logger.Info("draining before the end", "deadline", o.deadline)
	sum, err := n.Drain(ctx, o.to...)
	if err == nil || errors.Is(err, drain.ErrIncomplete) {
		logger.Info("drained", "daemons", sum.Gone, "of", sum.Total, "bytes", sum.Bytes, "took", sum.Elapsed)
	}

	return err
}
