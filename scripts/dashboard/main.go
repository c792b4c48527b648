// Command dashboard opens the dashboard of a real node in a headless browser, uses
// it as a person would, by keyboard, and compares what it shows with what is so.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// stage is what the browser looks at: two nodes, and daemons that work.
type stage struct {
	program, modules string
	one, two         *fleet.Node
	ended            []func()
}

func main() {
	var s stage
	var browser, dir, screenshot string
	flag.StringVar(&s.program, "wasmhost", "", "the program")
	flag.StringVar(&browser, "browser", "chromium", "Chromium")
	flag.StringVar(&dir, "dir", "", "for data and sockets")
	flag.StringVar(&s.modules, "modules", "", "folder of built guests")
	flag.StringVar(&screenshot, "screenshot", "", "file for a picture of the page, PNG; empty: none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	err := s.set(ctx, dir)
	if err == nil {
		err = s.walk(ctx, browser, filepath.Join(dir, "profile"), screenshot)
	}
	for i := len(s.ended) - 1; i >= 0; i-- {
		s.ended[i]()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
	fmt.Println("dashboard: what it shows is so")
}

// set starts the nodes and their daemons, and keeps events coming.
func (s *stage) set(ctx context.Context, dir string) error {
	s.one, s.two = fleet.NewNode(dir, "one", "127.0.0.1:0", s.program), fleet.NewNode(dir, "two", "127.0.0.1:0", s.program)
	for _, n := range []*fleet.Node{s.one, s.two} {
		s.ended = append(s.ended, func() { _ = n.Kill() }) // the directory goes with it
	}
	if err := fleet.JoinAll(ctx, []*fleet.Node{s.one, s.two}); err != nil {
		return err
	}
	for kind, n := range map[string]*fleet.Node{"wordcount": s.one, "echo": s.one, "heap": s.one, "counter": s.two} {
		if err := push(ctx, n, kind, filepath.Join(s.modules, "c", kind+".wasm")); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		node       *fleet.Node
		kind, name string
	}{{s.one, "wordcount", "words"}, {s.one, "echo", "parrot"}, {s.one, "heap", "large"}, {s.two, "counter", "clicks"}} {
		if _, err := d.node.Client.Spawn(ctx, api.Spawn{Kind: d.kind, Name: d.name}); err != nil {
			return err
		}
	}
	if _, err := s.one.Client.Send(ctx, "large", "", []byte("r 32")); err != nil {
		return err
	}
	feeding, stop := context.WithCancel(ctx)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for feeding.Err() == nil {
			for name, event := range map[string]string{"words": "the quick brown fox", "clicks": "x", "large": "w 10"} {
				_, _ = s.one.Client.Send(feeding, name, "", []byte(event)) // what fails shows in the page
			}
			fleet.Pause(feeding, 10*time.Millisecond)
		}
	}()
	s.ended = append(s.ended, func() { stop(); <-fed })
	return nil
}

func push(ctx context.Context, n *fleet.Node, kind, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = n.Client.Kinds().Push(ctx, kind, f)
	return err
}

// dashboard runs wasmhost dashboard on node one, and returns the links that it
// prints, one after the other.
func (s *stage) dashboard(ctx context.Context, dir string, flags ...string) (next func() (string, error), err error) {
	args := append([]string{"dashboard", "-o", "name", "--socket", filepath.Join(dir, "one.sock")}, flags...)
	cmd := exec.CommandContext(ctx, s.program, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s.ended = append(s.ended, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func() (string, error) {
		if !lines.Scan() {
			return "", errors.Join(errors.New("wasmhost dashboard printed no link"), lines.Err())
		}
		return strings.TrimSpace(lines.Text()), nil
	}, nil
}
