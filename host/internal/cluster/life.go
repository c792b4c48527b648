package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// A node's life is one run of its process. Each has a mark, drawn at random, that the
// store keeps and the directory keeps; an orderly stop adds to both that it was one.
// At the next start the two are held against each other, before any daemon with
// standbys serves:
//
//	the store has     | the directory has | the data directory
//	mark, stopped     | the same          | is as the orderly stop left it: no standby is asked
//	mark              | the same mark     | is that of the last life, which crashed
//	another, or none  | a mark            | is older than the last life: it was set back, or lost
//	any               | nothing           | nothing is known

// lifeRecord is how the store keeps the marks. One that is pending may be the
// directory's already.
type lifeRecord struct {
	_       struct{} `cbor:",toarray"`
	Mark    []byte   // of the last life whose mark the directory took; empty: there was none
	Pending []byte   // of the life that is to be told; empty: none
	Stopped bool     // the life of Mark ended in order
}

// lifeMark is how many bytes a mark has; the directory's value has one more where the
// life ended in order.
const lifeMark = 16

var lifeKey = []byte("life")

// lineage is what the marks say of the data directory.
type lineage struct {
	clean bool // it is as an orderly stop left it
	older bool // it is older than the node's last life
}

// life is this process's.
type life struct {
	mark     []byte
	before   lifeRecord // as the store had it at the start
	known    *lineage   // nil: the directory was not asked yet
	revision int64      // of the directory's mark
}

// recoverLife reads what the life before left.
func (c *Member) recoverLife() error {
	c.life.mark = make([]byte, lifeMark)
	if _, err := rand.Read(c.life.mark); err != nil {
		return err
	}
	b, err := c.env.Store.Get(store.Meta, lifeKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = canon.Unmarshal(b, &c.life.before)
	}
	if err != nil {
		return fmt.Errorf("%w: the mark of the node's life: %w", store.ErrCorrupt, err)
	}
	return nil
}

func (c *Member) putLife(rec *lifeRecord) error {
	value, err := canon.Marshal(rec)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.Put(store.Meta, lifeKey, value)
	return c.env.Store.Commit(b)
}

// lineage holds the marks against each other, once, and makes this process's the last.
// It asks the directory: the goroutine that hears the directory's news must not call it.
func (c *Member) lineage(ctx context.Context) (lineage, error) {
	select {
	case c.lifeTurn <- struct{}{}:
		defer func() { <-c.lifeTurn }()
	case <-ctx.Done():
		return lineage{}, context.Cause(ctx)
	}
	l := &c.life
	if l.known != nil {
		return *l.known, nil
	}
	said, revision, err := c.directory.Life(ctx)
	if errors.Is(err, directory.ErrMalformed) { // the directory is of a version that keeps no marks
		l.known = &lineage{}
		return lineage{}, nil
	}
	if err != nil {
		return lineage{}, fmt.Errorf("asking the directory for the mark of this node's last life: %w", err)
	}
	stopped := len(said) == lifeMark+1
	mark := said[:min(len(said), lifeMark)]
	ours := bytes.Equal(mark, l.mark) // an attempt before has arrived
	same := len(mark) > 0 && (bytes.Equal(mark, l.before.Mark) || bytes.Equal(mark, l.before.Pending))
	found := lineage{clean: same && stopped && l.before.Stopped && bytes.Equal(mark, l.before.Mark), older: len(mark) > 0 && !same && !ours}
	if !ours {
		if err := c.putLife(&lifeRecord{Mark: append([]byte{}, l.before.Mark...), Pending: l.mark}); err != nil {
			return lineage{}, err
		}
		if revision, err = c.directory.SetLife(ctx, l.mark, revision); err != nil {
			return lineage{}, fmt.Errorf("telling the directory of this node's life: %w", err)
		}
	}
	if err := c.putLife(&lifeRecord{Mark: l.mark, Pending: []byte{}}); err != nil {
		return lineage{}, err
	}
	if found.older {
		c.env.Logger.Error("this node's data directory is older than its last run: it was set back, restored or lost")
	}
	l.known, l.revision = &found, revision
	return found, nil
}

// AnnounceStop tells the directory that this life ends in order, which it does where each
// daemon was compared, or is held: the next life compares none. It reports whether the
// directory has it.
func (c *Member) AnnounceStop(ctx context.Context) bool {
	if c == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, c.directory.Self().TTL/2)
	defer cancel()
	select {
	case c.lifeTurn <- struct{}{}:
		defer func() { <-c.lifeTurn }()
	case <-ctx.Done():
		return false
	}
	if _, held := c.directory.Lease(); !held || !c.allCompared() || c.life.known == nil || c.life.revision == 0 {
		return false
	}
	_, err := c.directory.SetLife(ctx, append(bytes.Clone(c.life.mark), 1), c.life.revision)
	return err == nil
}

// allCompared reports whether no daemon here has still to be compared with its standbys.
func (c *Member) allCompared() bool {
	for _, d := range c.Daemons() {
		if !LeaderOf(d).Settled() && !c.config.Holds.Has(d.Entity()) {
			return false
		}
	}
	return true
}

// MarkStopped makes the store say that the life ended in order, as its last word.
func (c *Member) MarkStopped() error {
	return c.putLife(&lifeRecord{Mark: c.life.mark, Pending: []byte{}, Stopped: true})
}

// OlderThan reports whether a node's store is older than the life that its cluster's
// directory has of the node: it was set back to a backup, or lost. A directory that has
// none says nothing. Nothing must have been started on the store.
func OlderThan(s *store.Store, life []byte) (bool, error) {
	if len(life) == 0 {
		return false, nil
	}
	var last lifeRecord
	b, err := s.Get(store.Meta, lifeKey)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err == nil {
		err = canon.Unmarshal(b, &last)
	}
	if err != nil {
		return false, fmt.Errorf("%w: the mark of the node's life: %w", store.ErrCorrupt, err)
	}
	mark := life[:min(len(life), lifeMark)]
	return !bytes.Equal(mark, last.Mark) && !bytes.Equal(mark, last.Pending), nil
}
