// Package demo has the verb demo: two nodes, a daemon and a live migration, verified.
package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/chain"
)

// Demo is the command demo.
func Demo(a *cli.App) *cobra.Command {
	d := &demo{App: a}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Two nodes, a daemon, a live migration, verified",
		Long: `Start two nodes on this machine, upload a module that counts words, spawn a
daemon of it, send it every line of a text, move it to the other node half-way
while lines keep coming, compare its totals with a count made outside of it, and
prove its chain. Everything is real; nothing is left behind.`,
		Example: "  wasmhost demo --input README.md",
		Args:    cli.Exact(0),
		RunE:    func(c *cobra.Command, _ []string) error { return d.run(c.Context()) },
	}

	c.Flags().StringVar(&d.input, "input", "LICENSE", "the text whose lines are sent")
	c.Flags().StringVar(&d.module, "module", filepath.Join("testdata", "wasm", "c", "wordcount.wasm"), "the wordcount module")
	return c
}

// demo is one run of the demonstration.
type demo struct {
	*cli.App
	input, module string
	dir           string
	nodes         []*demoNode
}

// demoNode is a node in a process of its own.
type demoNode struct {
	name   string
	id     string
	cmd    *exec.Cmd
	client *client.Client
	stderr bytes.Buffer
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

func (d *demo) run(ctx context.Context) (err error) {
	text, err := os.ReadFile(d.input)
	if err != nil {
		return fmt.Errorf("reading the text: %w; name another with --input", err)
	}

	wasm, err := os.ReadFile(d.module)
	if err != nil {
		return fmt.Errorf("reading the module: %w; name another with --module", err)
	}
	if d.dir, err = os.MkdirTemp("", "wasmhost-demo-"); err != nil {
		return err
	}

	defer func() { err = errors.Join(err, d.end()) }()
	d.Grace.Ending.Store(true) // the nodes end with ctx

	d.say("1. two nodes")
	one, err := d.start(ctx, "one", "")
	if err != nil {
		return err
	}

	token, err := one.client.Node().JoinToken(ctx, time.Minute, "all")
	if err != nil {
		return err
	}

	two, err := d.start(ctx, "two", token.Token)
	if err != nil {
		return err
	}

	d.say("2. upload and spawn, on node one")
	kind, err := one.client.Kinds().Push(ctx, "wordcount", bytes.NewReader(wasm))
	if err != nil {
		return err
	}

	d.say("   kind wordcount is module %.12s, %d bytes: %s", kind.Digest, kind.Size, cli.StateText(kind.State))
	daemon, err := one.client.Spawn(ctx, api.Spawn{Kind: "wordcount", Name: "words"})
	if err != nil {
		return err
	}

	d.say("   daemon %s has origin %s", daemon.Name, daemon.Origin)

	lines := splitLines(text)
	d.say("3. send %d lines of %s, and move the daemon half-way", len(lines), d.input)
	if err := d.feed(ctx, one, lines); err != nil {
		return err
	}

	d.say("4. compare, asking node one, which passes the question on")
	if err := d.compare(ctx, one, lines); err != nil {
		return err
	}

	moved, err := one.client.Daemons().Get(ctx, "words")
	if err != nil {
		return err
	}
	if moved.NodeID != two.id || moved.Origin != daemon.Origin || moved.Epoch != 2 {
		return cli.ExitWith(api.ExitVerification, fmt.Errorf("the daemon is on node %s as %s, epoch %d", moved.NodeID, moved.Origin, moved.Epoch))
	}

	d.say("   the daemon is on node two, with the same origin, at epoch %d", moved.Epoch)

	d.say("5. prove the whole chain, with its owner's signature under it")
	return d.prove(ctx, two)
}

// start runs a node in a process of its own and waits until it is ready.
func (d *demo) start(ctx context.Context, name, token string) (*demoNode, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}

	socket := filepath.Join(d.dir, name+".sock")
	args := []string{"serve", "--ephemeral", "--listen", "127.0.0.1:0", "--socket", socket, "--name", name, "--log-level", "warn"}
	if token != "" {
		args = append(args, "--join", token)
	}

	n := &demoNode{name: name, client: client.Dial(socket)}
	n.cmd = exec.CommandContext(ctx, exe, args...)
	n.cmd.Cancel = func() error { return n.cmd.Process.Signal(syscall.SIGTERM) }
	n.cmd.Stderr = &n.stderr
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting node %s: %w", name, err)
	}

	d.nodes = append(d.nodes, n)
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("node %s did not start: %s", name, n.stderr.String())
	}

	var ready struct {
		NodeID string `json:"node_id"`
		Addr   string `json:"addr"`
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		return nil, fmt.Errorf("node %s did not start: %w", name, err)
	}

	n.id = ready.NodeID
	d.say("   node %s is %s at %s, process %d", name, ready.NodeID, ready.Addr, n.cmd.Process.Pid)
	return n, nil
}

// splitLines returns the lines as send --lines would send them. What begins with
// ? would be a question to the daemon: a space before it makes it text.
func splitLines(text []byte) []string {
	if len(text) == 0 {
		return nil
	}

	lines := textLines(text)
	for i, l := range lines {
		if strings.HasPrefix(l, "?") {
			lines[i] = " " + l
		}
	}

	return lines
}

func textLines(text []byte) []string {
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n"), "\n")
}

// step says what happens on the way.
func (d *demo) step() func(api.MigrationStep) {
	phase := ""
	return func(s api.MigrationStep) {
		switch {
		case s.Round != nil:
			d.say("    %s", cli.RoundText(s.Round))
		case s.Phase != phase:
			d.say("      %s", s.Phase)
		}
		phase = s.Phase
	}
}

// feed sends the lines through node one. Half-way it has the daemon moved; the
// lines keep coming until it has.
func (d *demo) feed(ctx context.Context, one *demoNode, lines []string) error {
	half, acked := len(lines)/2, 0
	type moved struct {
		report *api.MigrationReport
		during int
		err    error
	}

	begin, done := make(chan struct{}), make(chan moved, 1)
	go func() {
		<-begin
		r, err := one.client.Migrate(ctx, "words", api.Migrate{To: "two"}, d.step())
		done <- moved{report: r, err: err}
	}()

	var result *moved
	sent := 0
	next := func() ([]byte, error) {
		if sent == len(lines) {
			return nil, io.EOF
		}
		if sent == half {
			close(begin)
		}

		if sent > half && result == nil {
			// Spread what is left over the migration: the next line goes when
			// it has moved, or a moment later.
			timer := time.NewTimer(time.Millisecond)
			select {
			case m := <-done:
				result = &m
			case <-timer.C:
			}

			timer.Stop()
			if result == nil {
				sent++
				return []byte(lines[sent-1]), nil
			}

			result.during = sent - half
		}

		sent++
		return []byte(lines[sent-1]), nil
	}

	started := time.Now()
	err := one.client.SendAll(ctx, "words", "", next, func(s api.Sent) error {
		if s.Error != nil {
			return fmt.Errorf("line %d: %w", acked+1, s.Error)
		}
		acked++
		return nil
	})
	if err != nil {
		return err
	}

	if sent <= half {
		close(begin)
	}

	if result == nil {
		m := <-done
		m.during = sent - half
		result = &m
	}

	if result.err != nil {
		return result.err
	}

	r := result.report
	d.say("   %d of %d lines acknowledged in %v; %d came while the daemon moved", acked, len(lines), time.Since(started).Round(time.Millisecond), result.during)
	d.say("   moved: %d bytes, downtime %.1f ms, epoch %d", r.Bytes, r.DowntimeMS, r.Epoch)
	if acked != len(lines) {
		return cli.ExitWith(api.ExitVerification, fmt.Errorf("%d lines were acknowledged, %d were sent", acked, len(lines)))
	}

	return nil
}

// compare checks the daemon's totals against a count of our own.
func (d *demo) compare(ctx context.Context, n *demoNode, lines []string) error {
	counted := make(map[string]int)
	for _, line := range lines {
		for _, w := range strings.FieldsFunc(line, func(r rune) bool {
			return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			counted[strings.ToLower(w)]++
		}
	}

	var want []string
	words := 0
	for w, c := range counted {
		want = append(want, fmt.Sprintf("%s %d", w, c))
		words += c
	}

	sort.Slice(want, func(i, j int) bool { return word(want[i]) < word(want[j]) })
	for question, answer := range map[string]string{"?totals": strings.Join(want, "\n"), "?lines": fmt.Sprint(len(lines))} {
		s, err := n.client.Send(ctx, "words", "", []byte(question))
		if err != nil {
			return err
		}
		if len(s.Outputs) != 1 || s.Outputs[0].Text == nil || *s.Outputs[0].Text != answer {
			return cli.ExitWith(api.ExitVerification, fmt.Errorf("the daemon's answer to %s differs from an independent count", question))
		}
	}

	d.say("   totals equal an independent count: %d lines, %d words, %d different", len(lines), words, len(counted))
	sort.Slice(want, func(i, j int) bool { return counted[word(want[i])] > counted[word(want[j])] })
	d.say("   most frequent: %s", strings.Join(want[:min(5, len(want))], ", "))
	return nil
}

func word(line string) string { return line[:strings.IndexByte(line, ' ')] }

// prove exports the chain and verifies the file.
func (d *demo) prove(ctx context.Context, n *demoNode) error {
	body, err := n.client.Daemons().Chain(ctx, "words")
	if err != nil {
		return err
	}

	defer body.Close()
	r, err := chain.Verify(body)
	if err != nil {
		return err
	}

	d.say("   chain holds: %d outputs, %d signatures, %d move, epoch %d", r.Outputs, r.Checkpoints, len(r.Moves), r.Epoch)
	d.say("   head %s", r.Head)
	return nil
}

// end stops the nodes and removes what they left.
func (d *demo) end() error {
	var err error
	for _, n := range d.nodes {
		if sigErr := n.cmd.Process.Signal(syscall.SIGTERM); sigErr != nil && !errors.Is(sigErr, os.ErrProcessDone) {
			err = errors.Join(err, sigErr)
		}
		if waitErr := n.cmd.Wait(); waitErr != nil {
			err = errors.Join(err, fmt.Errorf("node %s: %w: %s", n.name, waitErr, n.stderr.String()))
		}
	}

	return errors.Join(err, os.RemoveAll(d.dir))
}
