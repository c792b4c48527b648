package broker

import (
	"context"

	"wasmhost.example/host/channel"
	"wasmhost.example/identity"
)

// source is what a feed reads: a channel's log, or a daemon's outputs. It is
// one feed's.
type source interface {
	id() identity.EntityID // the sender of its events
	head() uint64
	first() uint64
	// read is published.read.
	read(ctx context.Context, sequence uint64) (chunk channel.Chunk, lost uint64, wait <-chan struct{}, err error)
	close()
}

type logSource struct{ c *Channel }

func (s logSource) id() identity.EntityID { return s.c.source }
func (s logSource) head() uint64          { return s.c.head() }
func (s logSource) close()                {}
func (s logSource) first() uint64 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.log.First()
}

func (s logSource) read(_ context.Context, sequence uint64) (channel.Chunk, uint64, <-chan struct{}, error) {
	return s.c.read(sequence)
}

func (b *Broker) sourceOf(name string) (source, error) {
	if o, ok := channel.IsOutputs(name); ok {
		return b.outputsOf(o)
	}
	c, err := b.find(name)
	if err != nil {
		return nil, err
	}
	return logSource{c}, nil
}
