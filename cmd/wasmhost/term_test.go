package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/cli"
)

// A node that is told to end answers everybody who waits for a daemon that is busy for
// an hour, and the one whose event it processes, and ends well.
func TestTermAnswersThoseWhoWait(t *testing.T) {
	const senders = 1000
	dir := t.TempDir()
	socket := filepath.Join(dir, "n.sock")
	node := exec.Command("wasmhost", "serve", "--data", filepath.Join(dir, "data"), "--socket", socket, "--listen", "127.0.0.1:0")
	var log bytes.Buffer
	node.Stderr = &log
	out, err := node.StdoutPipe()
	if err == nil {
		err = node.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if node.ProcessState == nil {
			_ = node.Process.Kill() // the test failed
			_ = node.Wait()
		}
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the node did not start: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := client.Dial(socket)
	wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "unruly.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kinds().Push(ctx, "unruly", bytes.NewReader(wasm)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Spawn(ctx, api.Spawn{Kind: "unruly", Name: "d", Limits: map[string]int64{"fuel": 1 << 50, "wall": int64(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Send(ctx, "d", "first", []byte("count")); err != nil {
		t.Fatal(err)
	}

	answers := make(chan error, senders+1)
	var work sync.WaitGroup
	send := func(payload string) {
		work.Go(func() {
			_, err := client.Dial(socket).Send(ctx, "d", "", []byte(payload))
			answers <- err
		})
	}
	waiting := func() int64 {
		d, err := c.Daemons().Get(ctx, "d")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range d.Used {
			if l.Limit == "mailbox" {
				return l.Used
			}
		}
		t.Fatal("the mailbox is not told")
		return 0
	}
	send("loop")
	send("count")
	for waiting() == 0 { // one that overtook the loop is answered
		select {
		case err := <-answers:
			if err != nil {
				t.Fatalf("before the loop: %v", err)
			}
			send("count")
		default:
		}
	}
	for range senders - 1 {
		send("count")
	}
	for waiting() < senders {
	}

	began := time.Now()
	if err := node.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	work.Wait()
	close(answers)
	told := 0
	for err := range answers {
		var p *api.Problem
		if !errors.As(err, &p) || p.Code != "shutting-down" || p.Status != 503 {
			t.Fatalf("after %d answers: %v; want 503 shutting-down", told, err)
		}
		told++
	}
	if told != senders+1 {
		t.Errorf("%d were answered, want %d", told, senders+1)
	}
	if err := node.Wait(); err != nil {
		t.Errorf("the node ended with %v: %s", err, log.String())
	}
	if took := time.Since(began); took > cli.ServeGrace {
		t.Errorf("the node took %v to end, at most %v", took, cli.ServeGrace)
	}
}
