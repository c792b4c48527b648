package host

import (
	"context"
	"time"
	"wasmhost.example/host/daemon"

	"wasmhost.example/host/internal/lock"
)

// keptLines is how many of a daemon's last log lines are kept in memory, and
// how far a follower may lag before it is cut.
const keptLines = 1000

// daemonLog is the ring of a daemon's last lines. It is safe for concurrent
// use.
type daemonLog struct {
	clock func() time.Time

	mu    lock.Mutex[lock.Leaf]
	lines []daemon.LogLine // a ring once it is full
	next  int
	feed  feed[daemon.LogLine]
}

var levelNames = [...]string{"debug", "info", "warn", "error"}

func (l *daemonLog) add(level int, text string) {
	if level < 0 || level >= len(levelNames) {
		level = 1
	}
	line := daemon.LogLine{Time: l.clock(), Level: levelNames[level], Text: text}
	l.mu.Lock()
	if len(l.lines) < keptLines {
		l.lines = append(l.lines, line)
	} else {
		l.lines[l.next] = line
		l.next = (l.next + 1) % keptLines
	}
	l.mu.Unlock()
	l.feed.publish(line)
}

// trim keeps the last n lines.
func (l *daemonLog) trim(n int) {
	lines := l.all()
	lines = lines[max(0, len(lines)-n):]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines, l.next = append([]daemon.LogLine(nil), lines...), 0
}

// all returns the kept lines, oldest first.
func (l *daemonLog) all() []daemon.LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(append(make([]daemon.LogLine, 0, len(l.lines)), l.lines[l.next:]...), l.lines[:l.next]...)
}

// feed hands values to whoever subscribed, without ever waiting for one. The
// zero feed is ready for use; it is safe for concurrent use.
type feed[T any] struct {
	mu     lock.Mutex[lock.Leaf]
	subs   map[chan T]struct{}
	queues map[*queue[T]]struct{}
	closed bool
}

// subscribe is for values that are few and small: its buffer is made at once. Others
// use follow. It returns a channel of first, and of the values published from now
// on. It is closed when ctx ends, when the feed closes, or when its reader lags
// by more than buffer values.
func (f *feed[T]) subscribe(ctx context.Context, buffer int, first ...T) <-chan T {
	c := make(chan T, buffer+len(first))
	for _, v := range first {
		c <- v
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(c)
		return c
	}
	if f.subs == nil {
		f.subs = make(map[chan T]struct{})
	}
	f.subs[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(c)
	})
	return c
}

// drop needs f.mu.
func (f *feed[T]) drop(c chan T) {
	if _, ok := f.subs[c]; ok {
		delete(f.subs, c)
		close(c)
	}
}

func (f *feed[T]) publish(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		select {
		case c <- v:
		default:
			f.drop(c)
		}
	}
	for q := range f.queues {
		q.add(v)
	}
}

// idle reports whether nobody is subscribed.
func (f *feed[T]) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)+len(f.queues) == 0
}

func (f *feed[T]) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.subs {
		f.drop(c)
	}
	for q := range f.queues {
		q.end()
	}
}
