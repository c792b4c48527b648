// Package textlog keeps the last lines that a daemon logged.
package textlog

import (
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/host/internal/lock"
)

// KeptLines is how many of a daemon's last log lines are kept in memory, and
// how far a follower may lag before it is cut.
const KeptLines = 1000

// Log is the ring of a daemon's last lines. It is safe for concurrent
// use.
type Log struct {
	Clock func() time.Time

	mu    lock.Mutex[lock.Leaf]
	lines []daemon.LogLine // a ring once it is full
	next  int
	Feed  feed.Feed[daemon.LogLine]
}

var levelNames = [...]string{"debug", "info", "warn", "error"}

// Add keeps the line, and hands it to those who follow. A level that there is not is info.
func (l *Log) Add(level int, text string) {
	if level < 0 || level >= len(levelNames) {
		level = 1
	}
	line := daemon.LogLine{Time: l.Clock(), Level: levelNames[level], Text: text}
	l.mu.Lock()
	if len(l.lines) < KeptLines {
		l.lines = append(l.lines, line)
	} else {
		l.lines[l.next] = line
		l.next = (l.next + 1) % KeptLines
	}
	l.mu.Unlock()
	l.Feed.Publish(line)
}

// Trim keeps the last n lines.
func (l *Log) Trim(n int) {
	lines := l.All()
	lines = lines[max(0, len(lines)-n):]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines, l.next = append([]daemon.LogLine(nil), lines...), 0
}

// All returns the kept lines, oldest first.
func (l *Log) All() []daemon.LogLine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append(append(make([]daemon.LogLine, 0, len(l.lines)), l.lines[l.next:]...), l.lines[:l.next]...)
}
