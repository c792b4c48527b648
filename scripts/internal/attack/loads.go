package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// loadAttacks are guests and clients that are allowed what they do, and do too much of
// it: the light daemon beside must keep its latency.
var loadAttacks = []attack{
	{
		name: "timer-loop", tries: "four daemons whose timer arms itself again, at once",
		want:   []string{"4 loop"},
		bounds: bounds{p99: 150 * time.Millisecond},
		run:    timers(4, 0),
	},
	{
		name: "timer-loop-1000", tries: "1,000 of them",
		want:   []string{"1000 loop"},
		bounds: bounds{p99: 300 * time.Millisecond},
		run:    timers(1000, 0),
	},
	{
		name: "timer-loop-large", tries: "eight of them, with payloads of 256 KiB",
		want:   []string{"8 loop"},
		bounds: bounds{p99: 300 * time.Millisecond},
		run:    timers(8, 256<<10),
	},
	{
		name: "sends-to-itself", tries: "four daemons that send themselves an event at every event",
		want:   []string{"4 loop"},
		bounds: bounds{p99: 150 * time.Millisecond},
		run: loops(4, guest{imports: []string{imported("daemon_id", typePtr), imported("send", typeSend)},
			process: join(i32(1024), call(0), i32(1024), i32(0), i32(0), call(1), []byte{0x1a}, ok)}),
	},
	{
		name: "answers-twice", tries: "two daemons that answer each event of the other with two",
		want:   []string{"2 loop"},
		bounds: bounds{p99: 150 * time.Millisecond},
		run:    pair,
	},
	{
		name: "publishes-what-it-hears", tries: "a daemon that publishes twice, on a channel that it is subscribed to",
		want:   []string{"200"},
		bounds: bounds{p99: 150 * time.Millisecond},
		run:    echoOnChannel,
	},
	{
		name: "many-busy-daemons", tries: "400 daemons that compute for 50 ms at each event, with a client each",
		want:   []string{"400 busy"},
		bounds: bounds{p99: 1500 * time.Millisecond, pause: 2 * time.Second},
		run:    busy(400),
	},
	{
		name: "readers-and-mailbox", tries: "16 readers of one busy daemon with a mailbox of 4, then one sender",
		want: []string{"200"},
		run:  readersBesideSender,
	},
	{
		name: "unread-answers", tries: "a client that sends 2,000 large events on a stream and reads no answer",
		want: []string{"held"},
		run:  unreadAnswers,
	},
	{
		name: "unread-large-answers", tries: "2,000 events of a byte that are answered with a MiB each, and no answer is read",
		want: []string{"waits"}, bounds: bounds{peak: 320 << 20},
		run: unreadLargeAnswers,
	},
}

func timers(n int, payload int64) func(context.Context, *scene) (string, error) {
	return loops(n, guest{pages: 8, imports: []string{imported("timer", typeTimer)}, process: join(i64(1), i32(0), i32(payload), call(0), []byte{0x1a}, ok)})
}

// loops are n daemons that go on by themselves once an event has come. They are
// watched for three seconds.
func loops(n int, g guest) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		said, err := s.many(ctx, n, g.bytes(), "loop")
		fleet.Pause(ctx, 3*time.Second)
		return said, err
	}
}

// pair has two daemons answer one another: the first gets the second's id as an event.
func pair(ctx context.Context, s *scene) (string, error) {
	twice := join(times(2, join(i32(1024), i32(0), i32(0), call(2), []byte{0x1a})), ok)
	g := guest{imports: []string{imported("event_kind", typeKind), imported("event_sender", typePtr), imported("send", typeSend)},
		// A daemon's event is answered to its sender; a client's names whom to begin with.
		process: join(call(0), []byte{0x04, 0x40}, i32(1024), call(1), []byte{0x05}, i32(1024), []byte{0x20, 0}, i32(32), []byte{0xfc, 10, 0, 0}, []byte{0x0b}, twice)}
	one := s.one()
	if _, err := one.must(ctx, "PUT", "/v1/kinds/pair", g.bytes()); err != nil {
		return "", err
	}
	for _, name := range []string{"ping", "pong"} {
		if err := one.spawn(ctx, "pair", name, nil); err != nil {
			return "", err
		}
	}
	pong, err := s.entity(ctx, "pong")
	if err != nil {
		return "", err
	}
	_, err = one.must(ctx, "POST", "/v1/daemons/ping/events", pong)
	fleet.Pause(ctx, 4*time.Second)
	return "2 loop", err
}

// echoOnChannel has a daemon publish on the channel that it hears.
func echoOnChannel(ctx context.Context, s *scene) (string, error) {
	// The channel's name is written to memory, then it is published on twice.
	store := join(i32(1024), i32(0x6f6f6c), []byte{0x36, 0, 0}) // "loo"
	g := guest{imports: []string{imported("publish", typePublish)},
		process: join(store, times(2, join(i32(1024), i32(3), i32(0), i32(0), call(0), []byte{0x1a})), ok)}
	one := s.one()
	if _, err := one.must(ctx, "PUT", "/v1/kinds/loud", g.bytes()); err != nil {
		return "", err
	}
	if _, err := one.must(ctx, "POST", "/v1/channels", []byte(`{"name":"loo"}`)); err != nil {
		return "", err
	}
	if _, err := one.must(ctx, "POST", "/v1/daemons", []byte(`{"kind":"loud","name":"loud","may_publish":[{"pattern":"loo"}]}`)); err != nil {
		return "", err
	}
	if _, err := one.must(ctx, "POST", "/v1/daemons/loud/subscriptions", []byte(`{"publisher":"one","channel":"loo"}`)); err != nil {
		return "", err
	}
	said, err := one.say(ctx, "POST", "/v1/daemons/loud/events", []byte("x"))
	fleet.Pause(ctx, 3*time.Second)
	return said, err
}

// busy are n daemons, each with a client that sends one event after another.
func busy(n int) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		one := s.one()
		if said, err := s.many(ctx, n, spin(20_000_000), "busy"); err != nil {
			return said, err
		}
		ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
		defer cancel()
		var work sync.WaitGroup
		for i := range n {
			work.Go(func() {
				for ctx.Err() == nil {
					_, _, _ = one.do(ctx, "POST", fmt.Sprintf("/v1/daemons/many-%d/events", i), []byte("x")) // they only load the node
				}
			})
		}
		work.Wait()
		return fmt.Sprintf("%d busy", n), nil
	}
}

// many spawns n daemons of the module and sends one event to each.
func (s *scene) many(ctx context.Context, n int, wasm []byte, what string) (string, error) {
	one := s.one()
	if _, err := one.must(ctx, "PUT", "/v1/kinds/many", wasm); err != nil {
		return "", err
	}
	for i := range n {
		name := fmt.Sprintf("many-%d", i)
		if err := one.spawn(ctx, "many", name, nil); err != nil {
			return "", err
		}
		if _, err := one.must(ctx, "POST", "/v1/daemons/"+name+"/events", []byte("x")); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d %s", n, what), nil
}

// spin is a daemon that goes round a loop n times at every event.
func spin(n int64) []byte {
	loop := join([]byte{0x03, 0x40, 0x20, 2}, i64(1), []byte{0x7c, 0x22, 2}, i64(n), []byte{0x54, 0x0d, 0, 0x0b})
	g := guest{locals: []byte{1, 1, 0x7e}, process: join(loop, ok)}
	return g.bytes()
}

func readersBesideSender(ctx context.Context, s *scene) (string, error) {
	one := s.one()
	if _, err := one.must(ctx, "PUT", "/v1/kinds/slow", spin(600_000_000)); err != nil {
		return "", err
	}
	if err := one.spawn(ctx, "slow", "slow", map[string]any{"mailbox": 4, "fuel": int64(100e9), "wall": int64(60e9)}); err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	background := func(method, path string) {
		work.Go(func() {
			_, _, _ = one.do(ctx, method, path, []byte("x")) // what counts is what the sender below is answered
		})
	}
	background("POST", "/v1/daemons/slow/events")
	fleet.Pause(ctx, 200*time.Millisecond)
	for range 4 {
		for _, path := range []string{"/tail?after=0", "/chain", "/snapshot", "/quarantine"} {
			background("GET", "/v1/daemons/slow"+path)
		}
	}
	fleet.Pause(ctx, 300*time.Millisecond)
	return one.say(ctx, "POST", "/v1/daemons/slow/events", []byte("two"))
}

// unreadAnswers writes a stream of events by hand, and never reads.
// unreadLargeAnswers returns how many of the events were processed.
func unreadLargeAnswers(ctx context.Context, s *scene) (string, error) {
	one, g := s.one(), guest{pages: 17, imports: []string{imported("emit", typeEmit)}, process: join(i32(1024), i32(1<<20), call(0), ok)}
	if _, err := one.must(ctx, "PUT", "/v1/kinds/loud", g.bytes()); err != nil {
		return "", err
	}
	if err := one.spawn(ctx, "loud", "loud", nil); err != nil {
		return "", err
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", one.sock)
	if err != nil {
		return "", err
	}
	defer c.Close()
	events := bytes.Repeat([]byte{0, 0, 0, 1, 'x'}, 2000) // each its length, big-endian, then the payload
	if _, err := fmt.Fprintf(c, "POST /v1/daemons/loud/stream HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%s", len(events), events); err != nil {
		return "", err
	}
	fleet.Pause(ctx, 3*time.Second)
	b, err := one.must(ctx, "GET", "/v1/daemons/loud", nil)
	if err != nil {
		return "", err
	}
	var d struct {
		Processed int `json:"events_processed"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return "", err
	}
	if d.Processed == 0 || d.Processed > 200 {
		return fmt.Sprintf("%d were processed", d.Processed), nil
	}
	return fmt.Sprintf("waits after %d", d.Processed), nil
}

func unreadAnswers(ctx context.Context, s *scene) (string, error) {
	one := s.one()
	wasm, err := os.ReadFile(filepath.Join("testdata", "wasm", "c", "echo.wasm"))
	if err != nil {
		return "", err
	}
	if _, err := one.must(ctx, "PUT", "/v1/kinds/echo", wasm); err != nil {
		return "", err
	}
	if err := one.spawn(ctx, "echo", "loud", nil); err != nil {
		return "", err
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", one.sock)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := fmt.Fprint(c, "POST /v1/daemons/loud/stream HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		return "", err
	}
	const size = 1 << 20
	event := append([]byte{0, 0x10, 0, 0}, make([]byte, size)...) // its length, big-endian, then the payload
	chunk := append(fmt.Appendf(nil, "%x\r\n", len(event)), append(event, "\r\n"...)...)
	sent := 0
	for range 2000 {
		if err := c.SetWriteDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return "", err
		}
		if _, err := c.Write(chunk); err != nil {
			break // the node takes no more until answers are read, which is what is wanted
		}
		sent++
	}
	if sent == 2000 {
		return fmt.Sprintf("took all %d MiB without an answer read", sent), nil
	}
	return fmt.Sprintf("held at %d MiB", sent), nil
}
