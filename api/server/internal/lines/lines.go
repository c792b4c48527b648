// Package lines writes streams of values as answers: JSON lines, or server-sent events.
package lines

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"wasmhost.example/api"
)

// Writer writes values one by one, each at once: as JSON lines, or as server-sent
// events where the request accepts those. An event's name is that of the value's
// type.
type Writer struct {
	w      http.ResponseWriter
	enc    *json.Encoder
	rc     *http.ResponseController
	events bool
}

// New begins no answer yet: a problem may still be one. It sets the content type that the
// request accepts.
func New(w http.ResponseWriter, r *http.Request) Writer {
	l := Writer{w: w, enc: json.NewEncoder(w), rc: http.NewResponseController(w)}
	for _, accepted := range strings.Split(r.Header.Get("Accept"), ",") {
		if kind, _, _ := strings.Cut(accepted, ";"); strings.TrimSpace(kind) == "text/event-stream" {
			l.events = true
		}
	}
	if l.events {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
	} else {
		w.Header().Set("Content-Type", "application/jsonl")
	}
	return l
}

// Begin lets the client know that values will come.
func (l Writer) Begin() {
	l.w.WriteHeader(http.StatusOK)
	_ = l.rc.Flush() // the client is gone if this fails, and the request's context ends
}

// eventName is the name of a server-sent event with v.
func eventName(v any) string {
	switch v.(type) {
	case api.Output:
		return "output"
	case api.LogLine:
		return "log"
	case api.MigrationStep:
		return "migration"
	case api.DrainStep:
		return "drain"
	case api.ChannelEvent:
		return "event"
	case api.Published:
		return "published"
	case api.Happening:
		return "happening"
	}
	return "message"
}

// Write writes a value, which goes at once. The error is that of a client that is gone.
func (l Writer) Write(v any) error { return errors.Join(l.Put(v), l.rc.Flush()) }

// Flush lets go what Put wrote.
func (l Writer) Flush() error { return l.rc.Flush() }

// Put writes a value that need not go at once, for another follows.
func (l Writer) Put(v any) error {
	if !l.events {
		return l.enc.Encode(v)
	}
	head := "event: " + eventName(v) + "\n"
	if o, ok := v.(api.Output); ok {
		head += "id: " + strconv.FormatUint(o.Sequence, 10) + "\n"
	}
	if ev, ok := v.(api.ChannelEvent); ok && ev.Cursor != "" {
		head += "id: " + ev.Cursor + "\n"
	}
	_, err := io.WriteString(l.w, head+"data: ")
	if err == nil {
		err = l.enc.Encode(v) // one line
	}
	if err == nil {
		_, err = io.WriteString(l.w, "\n")
	}
	return err
}
