package feed

import (
	"context"
	"slices"
)

// Past is a feed that keeps what was published last: the newest Most values, whose sizes
// together are at most Bytes. Its fields are set before it is used.
type Past[T any] struct {
	Feed[T]
	Most  int
	Bytes int64
	Size  func(*T) int64 // bytes of a value

	kept  []T   // the oldest first; guarded by the feed's lock, as bytes is
	bytes int64 // of the kept
}

// Publish is Feed.Publish. It calls made under the feed's lock, so that values are kept and
// told in the order in which they are made.
func (p *Past[T]) Publish(made func() T) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := made()
	p.kept, p.bytes = append(p.kept, v), p.bytes+p.Size(&v)
	for len(p.kept) > p.Most || p.bytes > p.Bytes {
		var none T
		p.bytes -= p.Size(&p.kept[0])
		p.kept[0] = none
		p.kept = p.kept[1:]
	}
	p.publish(v)
}

// Stream is Feed.Stream, after the kept values from the first on that from holds for; a nil
// from holds for none. Between what is kept and what comes no value is missed or told twice.
func (p *Past[T]) Stream(ctx context.Context, most int, of Budget, from func(T) bool) <-chan T {
	p.mu.Lock()
	var first []T
	if from != nil {
		if at := slices.IndexFunc(p.kept, from); at >= 0 {
			first = slices.Clone(p.kept[at:])
		}
	}
	q := p.follow(ctx, most, of, p.Size)
	p.mu.Unlock()
	return q.stream(ctx, first)
}
