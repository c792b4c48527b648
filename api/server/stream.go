package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/groups"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/budget"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire"
)

// A stream of events is a request whose body is frames (four bytes of length,
// big-endian, then the event), and whose answer is a JSON line for each, in
// order, as soon as the event is durable. The body may go on while the answer
// does.

const streamWindow = 1024

// postStream delivers many events, pipelined.
func (s *Server) postStream(w http.ResponseWriter, r *http.Request) error {
	caller, leave := s.rt.Node().Budgets().Answers.Of(r.Context())
	defer leave()
	room, wanted := caller.Lone("stream", budget.StreamAnswers), (*budget.Budget)(nil)
	if strings.HasPrefix(r.PathValue("ref"), groups.GroupPrefix) { // members answer in any order, the stream in that of the events
		early, leave := s.rt.Node().Budgets().Early.Of(r.Context())
		defer leave()
		room, wanted = early.Lone("stream", budget.StreamAnswers), caller
	}
	requests, leaveRequests := s.rt.Node().Budgets().Requests.Of(r.Context())
	defer leaveRequests()
	bodies := requests.Lone("stream", budget.StreamRequests)
	sender, submit, err := s.sender(r, room, wanted)
	if err != nil {
		return err
	}
	defer sender.Close()
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Connection", "close") // what is left of the body when the answer ends is no next request
	w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return nil // the client is gone
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	tickets := make(chan sentTicket, streamWindow)
	go func() {
		defer close(tickets)
		submitAll(ctx, submit, bufio.NewReaderSize(r.Body, 64<<10), bodies, tickets)
	}()
	writes := web.Guard(w, caller, room, bodies)
	out := bufio.NewWriterSize(writes.Writer(w), 64<<10)
	flush := func() error { return errors.Join(out.Flush(), writes.Do(rc.Flush)) }
	for t := range tickets {
		err := t.writeTo(ctx, out, flush)
		if err == nil && len(tickets) == 0 {
			err = flush()
		}
		if err != nil {
			break
		}
	}
	cancel()
	for t := range tickets { // the reader ends now
		t.release()
	}
	_ = flush() // the client is gone if this fails
	return nil
}

// sentTicket is an event that was sent, or why it was not.
type sentTicket struct {
	ticket groups.Ticket
	err    error
	stops  bool // no event after it is taken

	body *budget.Hold // the event's bytes
}

// release says that the answer is written, or never will be.
func (t sentTicket) release() {
	t.body.Done()
	if t.ticket != nil {
		t.ticket.Release()
	}
}

// writeTo waits for the answer, after a flush of those before it, writes it, and releases
// it in any case.
func (t sentTicket) writeTo(ctx context.Context, out io.Writer, flush func() error) error {
	defer t.release()
	if !t.ready() {
		if err := flush(); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(t.wait(ctx))
}

func (t sentTicket) ready() bool {
	if t.ticket == nil {
		return true
	}
	select {
	case <-t.ticket.Ready():
		return true
	default:
		return false
	}
}

func (t sentTicket) wait(ctx context.Context) api.Sent {
	err := t.err
	if t.ticket != nil {
		res, waitErr := t.ticket.Wait(ctx)
		if waitErr == nil {
			return convert.SentOf(res)
		}
		err = waitErr
	}
	return api.Sent{Outputs: []api.Output{}, Error: problem.Of(err), Stopped: t.stops}
}

// submitAll reads events and sends them until the body ends, or one cannot be
// sent and none may overtake it: the rest of the body is then read and dropped,
// so that the client comes to hear of it.
func submitAll(ctx context.Context, submit submit, body io.Reader, room *budget.Budget, out chan<- sentTicket) {
	for {
		var hold *budget.Hold
		payload, err := canon.ReadFrameAdmitted(body, api.MaxEvent, func(n int) (err error) {
			hold, err = room.Reserve(ctx, int64(n))
			return err
		})
		if err == io.EOF {
			return
		}
		t := sentTicket{body: hold}
		if err != nil {
			t.err = fmt.Errorf("%w: reading an event: %w", api.ErrBadRequest, err)
		} else {
			t.ticket, t.err = submit(ctx, payload)
		}
		t.stops = t.err != nil && !wire.PassesOn(t.err)
		select {
		case out <- t:
		case <-ctx.Done():
			t.release()
			return
		}
		if t.stops {
			_, _ = io.Copy(io.Discard, body) // it ends when the client has heard, or is gone
			return
		}
	}
}
