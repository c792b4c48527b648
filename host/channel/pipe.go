package channel

import "sync"

// pipeDepth is how many messages one direction of a pipe holds.
const pipeDepth = 64

// Pipe returns the two ends of a connection within one process.
func Pipe() (Conn, Conn) {
	p := &pipe{done: make(chan struct{})}
	a, b := make(chan Message, pipeDepth), make(chan Message, pipeDepth)
	return &pipeEnd{pipe: p, in: a, out: b}, &pipeEnd{pipe: p, in: b, out: a}
}

type pipe struct {
	once sync.Once
	done chan struct{} // closed when either end is
}

type pipeEnd struct {
	*pipe
	in, out chan Message
}

// Send implements Conn.
func (p *pipeEnd) Send(m Message) error {
	select {
	case <-p.done:
		return ErrClosed
	default:
	}
	select {
	case p.out <- m:
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
	case m := <-p.in:
		return m, nil
	case <-p.done:
	}
	select {
	case m := <-p.in: // what was sent before the end still arrives
		return m, nil
	default:
		return nil, ErrClosed
	}
}

// Close implements Conn.
func (p *pipeEnd) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// Abort implements Conn.
func (p *pipeEnd) Abort() { p.once.Do(func() { close(p.done) }) }
