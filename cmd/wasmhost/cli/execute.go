package cli

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

// Execute runs the command line that has the commands of tree until it has ended, or until ctx has ended and the command
// outlasts its grace. It returns the exit code.
func Execute(ctx context.Context, tree func(*App) *cobra.Command, args []string, in io.Reader, out, errOut io.Writer) int {
	f, ok := in.(*os.File)
	a := &App{ctx: ctx, Asks: ok && terminal(f), Format: formatOf(args)}
	a.Out, a.Err = &printable{to: out, spoke: &a.Spoke}, &printable{to: errOut, spoke: &a.Spoke}
	defer a.endOutput()
	a.In = a.Grace.Reader(ctx, in, "standard input")
	root := tree(a)
	root.SetArgs(args)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	if code, ended := a.Grace.await(ctx, func() int { return a.Report(ctx, root.ExecuteContext(ctx)) }); ended {
		return code
	}
	said := make(chan int, 1)
	go func() {
		said <- (&App{Err: a.Err, Format: formatOf(args)}).Report(ctx, fmt.Errorf("%w: %w", errInterrupted, ctx.Err()))
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
