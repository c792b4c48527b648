package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
)

// execute runs the command line that has the commands of tree until it has ended, or until ctx has ended and the command
// outlasts its grace. It returns the exit code.
func execute(ctx context.Context, tree func(*App) *cobra.Command, args []string, in io.Reader, out, errOut io.Writer) int {
	f, ok := in.(*os.File)
	a := &App{ctx: ctx, asks: ok && terminal(f), format: formatOf(args)}
	a.out, a.err = &printable{to: out, spoke: &a.spoke}, &printable{to: errOut, spoke: &a.spoke}
	defer a.endOutput()
	a.in = a.grace.reader(ctx, in, "standard input")
	root := tree(a)
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	if code, ended := a.grace.await(ctx, func() int { return a.report(ctx, root.ExecuteContext(ctx)) }); ended {
		return code
	}
	said := make(chan int, 1)
	go func() {
		said <- (&App{err: a.err, format: formatOf(args)}).report(ctx, fmt.Errorf("%w: %w", errInterrupted, ctx.Err()))
	}()
	select {
	case code := <-said:
		return code
	case <-time.After(interruptGrace): // nobody reads standard error
		return api.ExitInterrupted
	}
}

// formatOf is the format that errors of the command line itself are told in.
func formatOf(args []string) string {
	for i, a := range args {
		switch {
		case a == "-o" && i+1 < len(args), a == "--output" && i+1 < len(args):
			return args[i+1]
		case strings.HasPrefix(a, "-ojson"), strings.HasPrefix(a, "-o=json"), strings.HasPrefix(a, "--output=json"):
			return "json"
		}
	}
	return os.Getenv("WASMHOST_OUTPUT")
}
