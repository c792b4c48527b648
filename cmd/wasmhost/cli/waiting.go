package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
)

// A command that asks a node waits until it is answered. While nothing is to be seen of
// that, it says after waitWord what it waits for, once; --timeout bounds the wait.

// waitWord is after how long a command says that it waits.
const waitWord = 2 * time.Second

// alone are the commands that ask no node, or serve until they are interrupted.
var alone = []string{"bench", "chain verify", "check", "config", "context add", "context ls", "context rm", "context show", "context use", "dashboard", "demo", "dev", "doctor", "help", "identity export", "identity new",
	"identity protect", "identity show", "kind sign", "man", "new", "receipt verify", "run", "serve", "token delegate", "token inspect", "token issue", "version"}

// Following are the commands that go on with what comes, which may be nothing.
var Following = []string{"events", "logs", "sub", "tail", "top"}

// follows reports whether c goes on with what comes.
func follows(c *cobra.Command) bool {
	watch := c.Flags().Lookup("watch")
	return slices.Contains(Following, c.Name()) || watch != nil && watch.Value.String() == "true"
}

// boundWaits gives every command that asks a node the flag --timeout.
func (a *App) boundWaits(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.boundWaits(sub)
	}
	if c.HasSubCommands() || c.RunE == nil || c.Flags().Lookup("timeout") != nil || slices.Contains(alone, strings.TrimPrefix(c.CommandPath(), "wasmhost ")) {
		return
	}
	limit := c.Flags().Duration("timeout", 0, "give up after so long, with exit code 7; 0s: never")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if *limit < 0 {
			return Usagef("--timeout %v: give a time that is not negative", *limit)
		}
		return a.waiting(c, *limit, func() error { return run(c, args) })
	}
}

// waiting runs a command for as long as limit allows; 0: for ever.
func (a *App) waiting(c *cobra.Command, limit time.Duration, run func() error) error {
	parent := c.Context()
	if parent == nil { // a test's
		parent = context.Background()
	}
	ctx, cancel := context.WithCancel(parent)
	if limit > 0 {
		ctx, cancel = context.WithTimeout(parent, limit)
	}
	defer cancel()
	c.SetContext(ctx)
	if in, ok := a.In.(*interruptible); ok {
		in.ctx = ctx
	}
	goesOn := follows(c)
	if !goesOn {
		defer a.saysWhat(ctx, c)()
	}

	err := run()
	switch {
	case parent.Err() != nil || !errors.Is(ctx.Err(), context.DeadlineExceeded), err == nil && !goesOn:
		return err
	case err == nil:
		return fmt.Errorf("%w: %s followed for %v", errGivenUp, c.CommandPath(), limit)
	}
	return fmt.Errorf("%w: %s was not done within %v; what it began may be carried out: %w", errGivenUp, c.CommandPath(), limit, err)
}

// errGivenUp says that a command's --timeout is over.
var errGivenUp = ExitWith(api.ExitTimeout, fmt.Errorf("--timeout: %w", context.DeadlineExceeded))

// saysWhat says after waitWord what the command waits for, unless something was printed
// by then. The caller calls stop when the command has ended.
func (a *App) saysWhat(ctx context.Context, c *cobra.Command) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	late := time.AfterFunc(waitWord, func() {
		defer close(done)
		if a.asked.Load() && !a.reads() && !a.Spoke.Load() {
			a.sayWaiting(ctx, c)
		}
	})
	return func() {
		cancel()
		if !late.Stop() {
			<-done
		}
	}
}

func (a *App) sayWaiting(ctx context.Context, c *cobra.Command) {
	why := "the node to answer"
	ask, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var p *api.Problem
	if errors.As(a.Client().Ready(ask), &p) {
		why = fmt.Sprintf("the node: %s (%s)", OneLine(p.Detail), OneLine(p.Code))
	}
	if ctx.Err() == nil {
		fmt.Fprintf(a.Err, "waiting for %s; %s goes on until it is done, or for --timeout\n", why, c.Name())
	}
}

// reads reports whether the command waits for its standard input.
func (a *App) reads() bool {
	in, ok := a.In.(*interruptible)
	return ok && in.reading.Load()
}
