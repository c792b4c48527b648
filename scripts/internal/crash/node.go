package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"wasmhost/wire/control"
)

// node is one data directory, and one process after another on it.
type node struct {
	name, bin, dir, addr, socket string
	client                       *control.Client
	join                         string // token for the first start

	mu   sync.Mutex
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

func newNode(bin, dir, name string) (*node, error) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		return nil, err
	}
	n := &node{name: name, bin: bin, dir: dir, addr: c.LocalAddr().String(), socket: filepath.Join(dir, name+".sock")}
	n.client = control.Dial(n.socket)
	return n, c.Close()
}

// launch starts a process; it need not be ready.
func (n *node) launch() (ready <-chan error, err error) {
	args := []string{"serve", "--data", filepath.Join(n.dir, n.name), "--listen", n.addr, "--socket", n.socket, "--name", n.name}
	if n.join != "" {
		args = append(args, "--join", n.join)
	}
	cmd := exec.Command(n.bin, args...)
	log, err := os.OpenFile(n.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
			announced <- fmt.Errorf("node %s ended before it was ready; see %s", n.name, n.log())
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

func (n *node) log() string { return filepath.Join(n.dir, n.name+".log") }

// start launches a process and waits until it is ready.
func (n *node) start(ctx context.Context) error {
	ready, err := n.launch()
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
		return fmt.Errorf("node %s is not ready after 30 s; see %s", n.name, n.log())
	}
}

// kill ends the process as a crash does, and waits until it is gone.
func (n *node) kill() error {
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
