package author

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/project"
	"wasmhost.example/cmd/wasmhost/serve"
	"wasmhost.example/node"
)

// developing is one dev command.
type developing struct {
	*cli.App
	dir string
	*project.Settings

	built  [32]byte // SHA-256 of the module that runs; zero: none does
	unfold context.CancelFunc

	mu sync.Mutex // one line of output at a time
}

// Dev is the command dev.
func Dev(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "dev [DIR]", Short: "Build a project at every change, and upgrade its running daemon",
		Long: `Run a project's daemon on a node in memory, and build it again at every change: the
daemon goes over to the new module with its state, where both versions have hooks
(wasmhost_snapshot, wasmhost_restore), and begins anew otherwise. What the daemon logs
and what the build says goes to standard error, outputs to standard output; each line
of standard input is an event. Other commands reach the node by its socket. It ends
with an interrupt, or when standard input does not come from a terminal and ends.

` + project.SettingsFile + ` in the folder says what is built and how; wasmhost new writes it.`,
		Example: `  wasmhost dev
  wasmhost dev ./tally --socket dev.sock`,
		Args: cli.Between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			d := &developing{App: a, dir: "."}
			if len(args) == 1 {
				d.dir = args[0]
			}

			var err error
			if d.Settings, err = project.Read(d.dir); errors.Is(err, project.ErrSettings) {
				return cli.Usagef("%v", err)
			} else if err != nil {
				return fmt.Errorf("%w; wasmhost new makes a project", err)
			}

			uses, err := d.Look(c.Context(), d.dir)
			if err != nil {
				return err
			}
			if uses != "" {
				d.say("%s is built by %s", d.Name, uses)
			}

			return d.serve(c.Context())
		},
	}
}

// serve runs the node, and watches while it is up.
func (d *developing) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ready, served := make(chan struct{}), make(chan error, 1)
	o := serve.ServeOptions{Node: node.Config{Name: "dev", Socket: d.Target.Socket}, Levels: "warn", Form: "text",
		Ready: func(*node.Node) error { close(ready); return nil }}
	if err := serve.CompileDefaults().Apply(&o.Node); err != nil {
		return err
	}

	go func() {
		served <- serve.ServeNode(d.App, ctx, o)
	}()
	select {
	case err := <-served:
		return err
	case <-ready:
	}

	err := d.watch(ctx)
	if d.unfold != nil {
		d.unfold()
	}

	interrupted := ctx.Err() != nil
	cancel()
	if err = errors.Join(err, <-served); interrupted && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// watch builds now and at every change.
func (d *developing) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := true
	return d.Watch(ctx, d.dir, func() error {
		err := d.rebuild(ctx)
		if first {
			first = false
			go d.read(ctx, cancel) // there is a daemon, unless the build failed
		}
		return err
	}, func(file string) { d.say("the build itself writes %s: that is no change", file) })
}

// read sends each line of standard input to the daemon, if there is one.
func (d *developing) read(ctx context.Context, end func()) {
	for next := cli.LineReader(d.In); ; {
		line, err := next()
		if err != nil {
			if !d.Asks {
				end()
			}
			return
		}

		if _, err := d.Client().Send(ctx, d.Name, "", bytes.Clone(line)); err != nil && ctx.Err() == nil {
			d.say("event: %v (%s)", err, problem.Of(err).Code)
		}
	}
}

func (d *developing) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.Err, format+"\n", args...)
}

// rebuild builds, and has the daemon go over to what was built. What is wrong
// with the project is said; an error is returned where dev cannot go on.
func (d *developing) rebuild(ctx context.Context) error {
	began := time.Now()
	cmd := exec.CommandContext(ctx, d.Build[0], d.Build[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, d.Err, d.Err
	if err := cmd.Run(); err != nil {
		if ctx.Err() == nil {
			d.say("build failed: %v; waiting for a change", err)
		}
		return nil
	}

	wasm, err := os.ReadFile(filepath.Join(d.dir, d.Module))
	if err != nil {
		d.say("build made no module: %v; waiting for a change", err)
		return nil
	}

	digest := sha256.Sum256(wasm)
	if digest == d.built {
		d.say("built, the same as before")
		return nil
	}

	c := d.Client()
	if _, err := c.Kinds().Push(ctx, d.Name, bytes.NewReader(wasm)); err != nil {
		p := problem.Of(err)
		d.say("not a daemon: %v (%s)\nhint: %s", err, p.Code, p.Hint)
		return nil
	}

	d.say("built %x, %s, in %v", digest[:6], cli.Size(int64(len(wasm))), time.Since(began).Round(time.Millisecond))
	if d.built != [32]byte{} {
		_, err := c.Daemons().Upgrade(ctx, d.Name, api.Upgrade{To: "latest"})
		if err == nil {
			d.built = digest
			d.say("%s goes on with its state", d.Name)
			return nil
		}

		d.say("%s begins anew, for its state cannot go over: %v", d.Name, err)
		d.unfold()
		if _, err := c.Daemons().Remove(ctx, d.Name); err != nil {
			return err
		}

		d.built = [32]byte{}
	}

	if _, err := c.Spawn(ctx, api.Spawn{Kind: d.Name, Name: d.Name, Config: []byte(d.Config),
		MayPublish: []api.MayPublish{{Pattern: "*"}}, MaySend: []string{"*"}}); err != nil {
		d.say("spawn failed: %v", err)
		return nil
	}

	d.built = digest
	d.follow(ctx)
	d.say("%s runs: type events, a line each; or wasmhost send %s --socket %s", d.Name, d.Name, d.Target.Socket)
	return nil
}

// follow prints what the daemon logs and emits, until d.unfold is called.
func (d *developing) follow(ctx context.Context) {
	ctx, d.unfold = context.WithCancel(ctx)
	c := d.Client()
	end := func(what string, err error) {
		if err != nil && ctx.Err() == nil {
			d.say("following %s: %v", what, err)
		}
	}

	go func() {
		end("its log", c.Logs(ctx, d.Name, true, func(l api.LogLine) error {
			d.say("log %s: %s", l.Level, l.Text)
			return nil
		}))
	}()

	go func() {
		end("its outputs", c.Tail(ctx, d.Name, "0", func(o api.Output) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.PrintOutput(o)
		}))
	}()
}
