package standby

import (
	"errors"
	"sync"
)

// ErrClosed is the error of a connection that is closed or was cut.
var ErrClosed = errors.New("the connection is closed")

// pipeDepth is how many messages one direction of a pipe holds.
const pipeDepth = 64

// Pipe returns the two ends of a connection within one process. Messages cross
// it encoded.
func Pipe() (Conn, Conn) {
	p := &pipe{done: make(chan struct{})}
	a, b := make(chan []byte, pipeDepth), make(chan []byte, pipeDepth)
	return &pipeEnd{pipe: p, in: a, out: b}, &pipeEnd{pipe: p, in: b, out: a}
}

type pipe struct {
	once sync.Once
	done chan struct{} // closed when either end is
}

type pipeEnd struct {
	*pipe
	in, out chan []byte
}

// Send implements Conn.
func (p *pipeEnd) Send(m Message) error {
	b, err := Encode(nil, m)
	if err != nil {
		return err
	}

	select {
	case <-p.done:
		return ErrClosed
	default:
	}

	select {
	case p.out <- b:
		return nil
	case <-p.done:
		return ErrClosed
	}
}

// Flush implements Conn.
func (p *pipeEnd) Flush() error { return nil }

// Recv implements Conn.
func (p *pipeEnd) Recv() (Message, error) {
	select {
	case b := <-p.in:
		return Decode(b)
	case <-p.done:
	}
	select {
	case b := <-p.in: // what was sent before the end still arrives
		return Decode(b)
	default:
		return nil, ErrClosed
	}
}

// More implements Conn.
func (p *pipeEnd) More() bool { return len(p.in) > 0 }

// Close implements Conn.
func (p *pipeEnd) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Abort implements Conn.
func (p *pipeEnd) Abort() { p.once.Do(func() { close(p.done) }) }
