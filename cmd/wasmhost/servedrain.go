package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/server"
)

// drainOptions are the settings that say what a node does with its daemons when
// it is told to end.
type drainOptions struct {
	on       bool
	to       []string
	deadline time.Duration
}

func (o *drainOptions) read(c *cobra.Command, to list) (err error) {
	text := func(name string) string { return c.Flags().Lookup(name).Value.String() }
	*o, err = newDrainOptions(text("drain"), to, text("drain-deadline"))
	return err
}

func newDrainOptions(on string, to list, deadline string) (o drainOptions, err error) {
	o.to, o.on = to.texts, on == "true" || len(to.texts) > 0
	if o.deadline, err = time.ParseDuration(deadline); err != nil || o.deadline <= 0 {
		return o, usagef("--drain-deadline %q is not a duration such as 60s", deadline)
	}
	return o, nil
}

// run drains the node before it ends. It takes daemons again at its next start,
// unless it was being drained before. failed ends the draining.
func (o drainOptions) run(s *server.Server, failed <-chan struct{}, logger *slog.Logger) error {
	if !o.on {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.deadline)
	defer cancel()
	logger.Info("draining before the end", "deadline", o.deadline)
	d, err := s.Drain(ctx, api.Drain{To: o.to}, false)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, d.Cancel) // also of one that was begun before
	defer stop()
	go func() {
		select {
		case <-failed:
			d.Cancel()
		case <-d.Done():
		}
	}()
	sum, err := d.Wait(context.Background()) // a cancelled one ends
	if err != nil {
		return err
	}
	logger.Info("drained", "daemons", sum.Gone, "of", sum.Total, "bytes", sum.Bytes, "took", sum.Elapsed)
	return sum.Err()
}
