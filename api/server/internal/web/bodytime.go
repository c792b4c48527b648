package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"wasmhost.example/api/server/problem"
)

// How long a request's body may take: what has none of its end in sight would hold its
// connection for good. A body must go on within bodyIdle, and come at bodyRate at least,
// bodyGrace aside. A stream of events (POST …/stream, …/publish) may rest for streamIdle,
// and has no rate.
const (
	bodyIdle   = 30 * time.Second
	bodyGrace  = time.Minute
	bodyRate   = 4 << 10 // bytes a second
	streamIdle = time.Hour
	drainTime  = 5 * time.Second // for what is left of a body when its request is answered
)

// timedBody bounds the time of a body.
type timedBody struct {
	io.ReadCloser
	deadline func(time.Time) error // sets that of the connection's reads
	now      func() time.Time
	began    time.Time
	got      int64
	stream   bool
	ended    bool
}

// TimeBody bounds the time of r's body until done is called, which is when r is answered.
// Requests without a body are left alone: a deadline would end what they wait for.
func TimeBody(w http.ResponseWriter, r *http.Request, stream bool) (done func()) {
	if r.Body == nil || r.Body == http.NoBody {
		return func() {}
	}
	rc := http.NewResponseController(w)
	b := &timedBody{ReadCloser: r.Body, deadline: rc.SetReadDeadline, now: time.Now, began: time.Now(), stream: stream}
	r.Body = b
	_ = b.deadline(b.next()) // a connection that has none is a test's
	return func() {
		if !b.ended {
			_ = b.deadline(b.now().Add(drainTime))
		}
	}
}

// StartBody bounds for how long a body may hold its connection that no handler reads.
func StartBody(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyIdle)) // a connection that has none is a test's
	}
}

// next is until when something must come.
func (b *timedBody) next() time.Time {
	now := b.now()
	if b.stream {
		return now.Add(streamIdle)
	}
	idle, end := now.Add(bodyIdle), b.began.Add(bodyGrace+time.Duration(b.got/bodyRate)*time.Second)
	if end.Before(idle) {
		return end
	}
	return idle
}

// Read implements io.Reader.
func (b *timedBody) Read(p []byte) (int, error) {
	if !b.ended {
		_ = b.deadline(b.next())
	}
	n, err := b.ReadCloser.Read(p)
	b.got += int64(n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("%w: %d bytes in %v: %w", problem.ErrSlowBody, b.got, b.now().Sub(b.began).Round(time.Second), err)
	case err != nil && !b.ended:
		b.ended = true
		_ = b.deadline(time.Time{}) // the answer may take its time
	}
	return n, err
}
