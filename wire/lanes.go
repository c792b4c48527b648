package wire

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"wasmhost.example/identity"
)

// Events that nobody numbers are numbered by the node that takes them, so that it can
// pass them on, and again where a connection breaks, and they are applied once. A node
// has few senders for that, its lanes: an open Sender has one for itself, whose numbers
// go on with the next Sender. So a daemon remembers as many senders of a node as were
// ever open at once, however many events came.

// MaxLanes is how many senders without a name may be open at a node at once.
const MaxLanes = 4096

// ErrTooManySenders says that MaxLanes are open.
var ErrTooManySenders = errors.New("as many senders without an id are open as may be")

// lane is a sender's id, and the number of its last event.
type lane struct {
	sender identity.EntityID
	number uint64
}

// lanes are those of a node since it started. They are safe for concurrent use.
type lanes struct {
	mu   sync.Mutex
	life [32]byte // drawn with the first lane: no other process has the same lanes
	made uint64
	free []lane // the one that was used last is last
}

// take returns a lane that nobody else has until give.
func (l *lanes) take() (lane, error) {
	l.mu.Lock()
	defer l.mu.Unlock()

	if n := len(l.free); n > 0 {
		last := l.free[n-1]
		l.free = l.free[:n-1]
		return last, nil
	}

	if l.made >= MaxLanes {
		return lane{}, fmt.Errorf("%w: %d", ErrTooManySenders, MaxLanes)
	}
	if l.made == 0 {
		if _, err := rand.Read(l.life[:]); err != nil {
			return lane{}, fmt.Errorf("naming a sender: %w", err)
		}
	}

	l.made++
	return lane{sender: identity.LaneSender(fmt.Sprintf("%x/%d", l.life, l.made))}, nil
}

func (l *lanes) give(used lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, used)
}
