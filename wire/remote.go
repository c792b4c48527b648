package wire

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"wasmhost.example/host/backoff"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/internal/canon"
)

// readReplies answers the tickets, in order, until the stream ends; then what
// is not answered is sent again.
func (s *Sender) readReplies(r *remote) {
	in := bufio.NewReaderSize(r.stream, 64<<10)
	for {
		var hold *budget.Hold
		b, err := canon.ReadFrameAdmitted(in, maxReplyFrame, func(n int) (err error) {
			hold, err = s.admit(int64(n))
			return err
		})

		var reply *replyFrame
		if err == nil {
			reply, err = decodeReply(b)
		}

		s.mu.Lock()
		if s.remote != r {
			s.mu.Unlock()
			hold.Done()
			return
		}

		if err != nil || len(s.unacked) == 0 {
			hold.Done()
			s.hangUp()
			s.broken(r, err)
			s.mu.Unlock()
			return
		}

		res, err := reply.result(s.id)
		if p, ok := retryOf(err); ok {
			s.hangUp()
			if s.later(r, p) {
				hold.Done()
				s.mu.Unlock()
				return
			}
		}

		var moved *daemon.MovedError
		if errors.As(err, &moved) {
			hold.Done()
			s.again(moved)
			s.mu.Unlock()
			return
		}

		s.hops, s.tries, r.answered = 0, nil, true
		t := s.unacked[0]
		s.unacked = s.unacked[1:]
		t.onRelease(hold.Done)
		t.finish(res, err)
		if stops(reply.Code) { // the other side takes nothing more on this stream
			s.hangUp()
			s.fail(err)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// retryOf is how an event is tried again that was answered with err; false: it is not.
func retryOf(err error) (backoff.Policy, bool) {
	switch {
	case errors.Is(err, daemon.ErrComing):
		return comingRetry, true
	case errors.Is(err, daemon.ErrNotReady):
		return answerRetry, true
	}
	return backoff.Policy{}, false
}

// admit waits for room for the answer that comes next, of n bytes. That of a ticket
// which Wait waits for has room of its own.
func (s *Sender) admit(n int64) (*budget.Hold, error) {
	s.mu.Lock()
	var await chan struct{}
	if len(s.unacked) > 0 {
		await = s.unacked[0].await
	}
	s.mu.Unlock()
	if await == nil {
		return s.room.Reserve(s.ctx, n)
	}

	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	go func() {
		select {
		case <-await:
			stop()
		case <-ctx.Done():
		}
	}()

	hold, err := s.room.Reserve(ctx, n)
	if err != nil && s.ctx.Err() == nil && ctx.Err() != nil {
		return s.wanted.Reserve(s.ctx, n)
	}
	return hold, err
}

// stops reports whether a reply ends its stream.
func stops(code uint8) bool {
	return code != codeOK && code != codeFault && code != codeEventFailed && !PassesOn(codeErrors[code])
}

// remote is an events stream to another node. What is sent is gathered while
// a write is under way.
type remote struct {
	stream   *quic.Stream
	kick     chan struct{} // something was gathered
	began    time.Time
	answered bool // an event; guarded by the sender's mu

	mu sync.Mutex
	w  *bufio.Writer
}

func newRemote(s *quic.Stream) *remote {
	r := &remote{stream: s, began: time.Now(), kick: make(chan struct{}, 1), w: bufio.NewWriterSize(s, 64<<10)}
	go r.flusher()
	return r
}

func (r *remote) send(ev *daemon.Event) error {
	return r.write(&eventFrame{Sender: ev.Sender, Number: ev.Number, Channel: ev.Channel, Payload: ev.Payload})
}

func (r *remote) write(item any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := writeItem(r.w, item); err != nil {
		return err
	}

	select {
	case r.kick <- struct{}{}:
	default:
	}
	return nil
}

func (r *remote) flusher() {
	for {
		select {
		case <-r.kick:
		case <-r.stream.Context().Done():
			return
		}

		r.mu.Lock()
		err := r.w.Flush()
		r.mu.Unlock()
		if err != nil {
			r.abort()
			return
		}
	}
}

func (r *remote) abort() { cut(r.stream) }
