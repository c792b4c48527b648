package directory

import (
	"context"
	"errors"
)

// Engine is what a directory stands on: keys and values under transactions, as
// a consensus engine has them. It is safe for concurrent use.
type Engine interface {
	// Commit makes all of the writes where all of the conditions hold, and returns
	// the revision that their keys have from then on. ErrConflict: a condition does
	// not hold, and nothing was written. After any other error whether they were
	// made is not known.
	Commit(ctx context.Context, conditions []Condition, writes []Write) (revision int64, err error)

	// Get returns the key's value, which is the caller's, and its revision; a
	// revision of 0 where it is not there. It sees every commit that ended before.
	Get(ctx context.Context, key string) (value []byte, revision int64, err error)

	// Watch calls fn with all keys that begin with prefix, then with nil to say that
	// these were all, and then with each change, in order. It returns when ctx ends
	// or what it says may not be all any more.
	Watch(ctx context.Context, prefix string, fn func(*Change)) error
}

// Condition says at which revision a key is to be; 0: not there.
type Condition struct {
	Key      string
	Revision int64
}

// Write sets a key, or removes it where Value is nil.
type Write struct {
	Key   string
	Value []byte
}

// Change is a key that has a new value; nil: it is gone.
type Change struct {
	Key      string
	Value    []byte
	Revision int64
}

// ErrConflict says that the directory is not as a transaction expects it.
var ErrConflict = errors.New("the directory says otherwise by now")

// Errors of a node's own part in the engine. The node takes no part then: what it has
// must not come back, and is not rolled forward by itself.
var (
	// ErrOlder says that the node's part is older than what it has acknowledged: it was
	// restored from a backup.
	ErrOlder = errors.New("this node's part in the cluster's directory is older than what the node has acknowledged: it was restored from a backup")

	// ErrDamaged says that the node's part cannot be read, or contradicts itself.
	ErrDamaged = errors.New("this node's part in the cluster's directory is damaged")
)
