package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// sendLines pipes lines through the command line to a node of another process,
// on disk, and to one that forwards them to the first over QUIC.
var sendLines = comparison{name: "send-lines", n: 10_000, setup: func(root string) ([]contender, func() error, error) {
	dir, err := os.MkdirTemp("", "wasmhost-bench")
	if err != nil {
		return nil, nil, err
	}
	bin := filepath.Join(dir, "wasmhost")
	build := exec.Command("go", "build", "-o", bin, "./cmd/wasmhost")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, nil, fmt.Errorf("%w: %s", err, out)
	}
	a, err := serve(bin, dir, "a", "")
	if err != nil {
		return nil, nil, err
	}
	token, err := a.client("node", "token")
	if err != nil {
		return nil, nil, err
	}
	b, err := serve(bin, dir, "b", strings.TrimSpace(token))
	if err != nil {
		return nil, nil, errors.Join(err, a.stop())
	}
	done := func() error { return errors.Join(b.stop(), a.stop(), os.RemoveAll(dir)) }
	if _, err := a.client("kind", "push", "counter", filepath.Join(root, "testdata", "wasm", "c", "counter.wasm")); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	if _, err := a.client("spawn", "counter", "--name", "counter"); err != nil {
		return nil, nil, errors.Join(err, done())
	}
	lines := filepath.Join(dir, "lines")
	total := 0
	send := func(via *node) func(int) error {
		return func(n int) error {
			var text strings.Builder
			for i := range n {
				fmt.Fprintf(&text, "line %d of the text that is sent\n", i)
			}
			if err := os.WriteFile(lines, []byte(text.String()), 0o600); err != nil {
				return err
			}
			out, err := via.client("send", "counter", "--lines", lines)
			if err != nil {
				return err
			}
			total += n
			all := strings.Fields(out)
			if len(all) != n || all[n-1] != fmt.Sprint(total) {
				return fmt.Errorf("%d outputs, the last %s, want %d and %d", len(all), all[len(all)-1], n, total)
			}
			return nil
		}
	}
	return []contender{
		{name: "send --lines to its node, process start included", run: send(a)},
		{name: "send --lines to another node, which forwards", run: send(b)},
	}, done, nil
}}

type node struct {
	bin, socket string
	cmd         *exec.Cmd
}

func serve(bin, dir, name, token string) (*node, error) {
	n := &node{bin: bin, socket: filepath.Join(dir, name+".sock")}
	args := []string{"serve", "--data", filepath.Join(dir, name), "--listen", "127.0.0.1:0", "--socket", n.socket, "--name", name}
	if token != "" {
		args = append(args, "--join", token)
	}
	n.cmd = exec.Command(bin, args...)
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var ready struct {
		NodeID string `json:"node_id"`
	}
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting node %s: %w", name, err), n.stop())
	}
	return n, nil
}

func (n *node) client(args ...string) (string, error) {
	c := exec.Command(n.bin, append([]string{"--socket", n.socket}, args...)...)
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return "", fmt.Errorf("wasmhost %s: %w: %s", args[0], err, exit.Stderr)
	}
	return string(out), err
}

func (n *node) stop() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return n.cmd.Wait()
}
