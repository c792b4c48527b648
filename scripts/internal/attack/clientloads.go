package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// oneShots posts events without an id over a few connections, many at a time on each,
// and then one more as another client.
func oneShots(ctx context.Context, s *scene) (string, error) {
	const total, conns, batch = 70_000, 4, 100
	one := s.one()
	if err := one.spawn(ctx, "counter", "shots", nil); err != nil {
		return "", err
	}
	request := strings.Repeat("POST /v1/daemons/shots/events HTTP/1.1\r\nHost: n\r\nContent-Length: 2\r\n\r\nhi", batch)
	var work sync.WaitGroup
	answered := make([]int, conns)
	errs := make([]error, conns)
	for i := range conns {
		work.Go(func() { answered[i], errs[i] = one.pipeline(ctx, request, batch, total/conns/batch) })
	}
	work.Wait()
	n := 0
	for i, err := range errs {
		if n += answered[i]; err != nil {
			return fmt.Sprintf("%d answered", n), err
		}
	}
	last, err := one.say(ctx, "POST", "/v1/daemons/shots/events?id=client/1", []byte("hi"))
	return fmt.Sprintf("%d answered; %s", n, last), err
}

// pipeline writes the requests, batch of them, and reads their answers, rounds times.
func (n *node) pipeline(ctx context.Context, requests string, batch, rounds int) (answered int, err error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", n.sock)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // ends what blocks below
	r := bufio.NewReader(c)
	for range rounds {
		if _, err := io.WriteString(c, requests); err != nil {
			return answered, err
		}
		for range batch {
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				return answered, err
			}
			b, err := io.ReadAll(res.Body)
			if err != nil {
				return answered, err
			}
			if res.StatusCode != 200 {
				return answered, fmt.Errorf("after %d answers: %s", answered, answerText(res.StatusCode, b))
			}
			answered++
		}
	}
	return answered, nil
}

// silentBodies opens requests that announce a body and send none of it, and sees that
// the node goes on; how long it waits for a body is a test's, with a clock of its own.
func silentBodies(ctx context.Context, s *scene) (string, error) {
	one := s.one()
	for range 200 {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", one.sock)
		if err != nil {
			return "", err
		}
		defer c.Close()
		if _, err := io.WriteString(c, "POST /v1/daemons/light/events HTTP/1.1\r\nHost: n\r\nContent-Length: 1000000\r\n\r\n"); err != nil {
			return "", err
		}
	}
	fleet.Pause(ctx, time.Second)
	said, err := one.say(ctx, "POST", "/v1/daemons/light/events", []byte("x"))
	return "held; " + said, err
}
