package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
)

// ask sends what the member has to say and waits for the answer.
func (in *subscription) ask(ctx context.Context, m *member) memberAnswer {
	answer := make(chan memberAnswer, 1)
	in.mu.Lock()
	m.answer = answer
	conn := in.conn
	in.mu.Unlock()
	if conn != nil {
		go in.say(conn, m)
	} else {
		in.poke()
	}

	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	var a memberAnswer

	select {
	case a = <-answer:
		return a
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	case <-in.of.env.Context.Done():
		a.err = daemon.ErrShuttingDown
	case <-timer.C:
		a.err = fmt.Errorf("%w: node %s does not answer", mesh.ErrUnreachable, in.key.publisher)
	}

	in.mu.Lock()
	defer in.mu.Unlock()
	if m.answer == answer {
		m.answer = nil
	}
	return a
}

// reply answers whoever waits. It needs in.mu.
func (m *member) reply(a memberAnswer) {
	if m.answer != nil {
		m.answer <- a
		m.answer = nil
	}
}

func (in *subscription) poke() {
	select {
	case in.kick <- struct{}{}:
	default:
	}
}

// wake needs in.mu.
func (in *subscription) wake() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// resubscribe says again what the member has to say, where there is a
// connection.
func (in *subscription) resubscribe(m *member) {
	in.mu.Lock()
	conn := in.conn
	in.mu.Unlock()
	if conn != nil {
		go in.say(conn, m)
	}
}

func (in *subscription) send(conn channel.Conn, m channel.Message) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	return errors.Join(conn.Send(m), conn.Flush())
}

// sendIf sends the message where cond, which is called with in.mu, still holds:
// what is said of one daemon by several goroutines comes in an order that ends
// in what is so.
func (in *subscription) sendIf(conn channel.Conn, m channel.Message, cond func() bool) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	in.mu.Lock()
	ok := cond()
	in.mu.Unlock()
	if !ok {
		return nil
	}

	return errors.Join(conn.Send(m), conn.Flush())
}

// say tells the publisher what the member wants of it.
func (in *subscription) say(conn channel.Conn, m *member) {
	if !in.of.env.Work.Begin() {
		return
	}

	defer in.of.env.Work.Done()
	in.mu.Lock()
	leaving, gone := m.leaving, m.gone
	sub := &channel.Subscribe{Entity: m.entity, Token: m.token, Source: m.source, After: m.cursor}
	in.mu.Unlock()
	var err error

	switch {
	case gone:
		return
	case leaving:
		err = in.sendIf(conn, &channel.Unsubscribe{Entity: m.entity}, func() bool { return in.members[m.entity] == m && m.leaving })
	default:
		if len(sub.Token) > 0 {
			if sub.Residence, err = in.of.ledgers.Residence(in.of.env.Context, m.entity); err != nil {
				in.mu.Lock()
				m.reply(memberAnswer{err: err})
				m.err = err
				in.mu.Unlock()
				return
			}
		}
		err = in.sendIf(conn, sub, func() bool { return in.members[m.entity] == m && !m.leaving })
	}

	if err != nil {
		in.of.env.Logger.Debug("a channel's connection broke", "channel", in.key.name, "error", err)
	}
}
