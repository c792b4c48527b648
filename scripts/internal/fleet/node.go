// Package fleet runs real nodes for those who try to break them: processes that
// are started and killed, senders that number their events, and the count of what
// the daemons' chains have of them.
package fleet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"wasmhost.example/api/client"
)

// Node is one data directory, and one process after another on it. It is safe for
// concurrent use.
type Node struct {
	Name   string
	Client *client.Client
	Join   string   // token for the first start
	Args   []string // of serve, beside those that the node has by itself

	command           []string
	dir, addr, socket string

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// NewNode is a node whose data, socket and log are in dir, and which listens on
// addr. The command is the program wasmhost, after what it is to be run by.
func NewNode(dir, name, addr string, command ...string) *Node {
	n := &Node{Name: name, command: command, dir: dir, addr: addr, socket: filepath.Join(dir, name+".sock")}
	n.Client = client.Dial(n.socket)
	return n
}

// Use has the next process be of another build of the program.
func (n *Node) Use(bin string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.command = append(slices.Clone(n.command[:len(n.command)-1]), bin)
}

// Launch starts a process; it need not be ready.
func (n *Node) Launch() (ready <-chan error, err error) {
	n.mu.Lock()
	command := n.command
	n.mu.Unlock()
	args := append(slices.Clone(command[1:]), "serve", "--data", n.Data(), "--listen", n.addr, "--socket", n.socket, "--name", n.Name)
	args = append(args, n.Args...)
	if n.Join != "" {
		args = append(args, "--join", n.Join)
	}
	cmd := exec.Command(command[0], args...)
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	gone, announced := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(gone)
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err != nil || len(line) == 0 {
			announced <- fmt.Errorf("node %s ended before it was ready; see %s", n.Name, n.Log())
		} else {
			announced <- nil
		}
		_ = cmd.Wait() // a killed process has an error
	}()
	n.mu.Lock()
	n.cmd, n.gone = cmd, gone
	n.mu.Unlock()
	return announced, nil
}

// Run runs a command of the program at the node, and returns what it wrote, to both of its
// outputs, and its exit code. An error says that it did not run, or was killed.
func (n *Node) Run(ctx context.Context, args ...string) (string, int, error) {
	n.mu.Lock()
	command := n.command
	n.mu.Unlock()
	cmd := exec.CommandContext(ctx, command[0], slices.Concat(command[1:], []string{"--socket", n.socket}, args)...)
	out, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}

// Data is the node's data directory.
func (n *Node) Data() string { return filepath.Join(n.dir, n.Name) }

// Log is the file that the node's processes log to.
func (n *Node) Log() string { return filepath.Join(n.dir, n.Name+".log") }

// Start launches a process and waits until it is ready.
func (n *Node) Start(ctx context.Context) error {
	ready, err := n.Launch()
	if err != nil {
		return err
	}
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case err := <-ready:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return fmt.Errorf("node %s is not ready after 30 s; see %s", n.Name, n.Log())
	}
}

// Kill ends the process as a crash does, and waits until it is gone.
func (n *Node) Kill() error {
	n.mu.Lock()
	cmd, gone := n.cmd, n.gone
	n.cmd = nil
	n.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-gone
	return nil
}

// Wait waits until the process has ended by itself, for d at most.
func (n *Node) Wait(d time.Duration) {
	n.mu.Lock()
	gone := n.gone
	n.mu.Unlock()
	if gone == nil {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-gone:
	case <-timer.C:
	}
}

// Signal sends the process a signal: SIGSTOP, and later SIGCONT.
func (n *Node) Signal(sig os.Signal) error {
	n.mu.Lock()
	cmd := n.cmd
	n.mu.Unlock()
	if cmd == nil {
		return fmt.Errorf("node %s does not run", n.Name)
	}
	return cmd.Process.Signal(sig)
}

// JoinAll starts the nodes, each joined to those before it.
func JoinAll(ctx context.Context, nodes []*Node) error {
	for i, n := range nodes {
		for _, before := range nodes[:i] {
			token, err := before.Client.Node().JoinToken(ctx, time.Minute, "all")
			if err != nil {
				return err
			}
			if n.Join == "" {
				n.Join = token.Token
				err = n.Start(ctx)
			} else {
				_, err = n.Client.Node().Join(ctx, token.Token)
			}
			if err != nil {
				return err
			}
		}
		if i == 0 {
			if err := n.Start(ctx); err != nil {
				return err
			}
		}
		n.Join = ""
	}
	return nil
}

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
