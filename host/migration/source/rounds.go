package source

import (
	"bytes"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/internal/canon"
)

// The middle of the source's walk. What the daemon did since the view goes to
// the target in rounds, while it goes on doing more, until what is left would
// hold up its senders for no longer than they may be.

// The defaults of Options.
const (
	DefaultDowntime = 50 * time.Millisecond
	DefaultRounds   = 30
)

// catchUp makes rounds until the pause would be short enough, and another would
// not make it much shorter. A daemon that does more than a round can carry is
// slowed. When rounds run out the pause comes all the same.
func (s *sourceWalk) catchUp() error {
	o := &s.m.options
	at := position{round: 1, most: o.MaxRounds, before: forever, left: s.left(), fits: s.fits()}
	for at.next() != pauseNow {
		r, err := s.round(at.round, false)
		if err != nil {
			return err
		}

		after := at.after(s.left(), s.fits())
		if r.Left = after.left; after.next() == slowDown {
			s.slow(r)
		}
		r.Slowed = s.slowed
		s.m.passed(r)

		at = after
		at.round++
		at.left = s.left()
	}

	if at.round > at.most && at.left > o.Downtime {
		s.m.env.Logger.Warn("a daemon does more than the rounds of its migration could carry; its senders will wait for longer than they should",
			"daemon", s.m.entity.Origin(), "rounds", o.MaxRounds, "expected", at.left, "downtime", o.Downtime)
	}
	return nil
}

// fits is how long the pause may be: as was asked for, or what the way there and
// back takes in any case.
func (s *sourceWalk) fits() time.Duration { return max(s.m.options.Downtime, 2*s.pace.trip) }

// slow has the daemon do half as much as in the last round, within bounds.
func (s *sourceWalk) slow(r migration.Round) {
	next := slower(s.slowed, r)
	if next == s.slowed {
		return
	}

	s.d.Slow(next)
	s.slowed = next
	s.m.env.Logger.Warn("a daemon is slowed so that its migration can end", "daemon", s.m.entity.Origin(), "interval", next)
}

// left is how long the pause would be now.
func (s *sourceWalk) left() time.Duration { return s.pace.pause(s.d.Held(), s.memory != nil) }

// round sends what happened since the last one. The last round begins with the
// pause, and Prepared answers it.
func (s *sourceWalk) round(n int, last bool) (migration.Round, error) {
	began, before := time.Now(), s.m.bytesSent()
	r := migration.Round{Number: n, How: migration.RoundReplay}
	var since *sandbox.Frozen
	if s.memory != nil {
		since = s.memory.view
	}
	if last {
		s.paused = began
	}
	c, err := s.d.Cut(since, last)
	if err != nil {
		return r, err
	}
	s.head = c.Head

	r.Records = int(c.To - c.From)
	if s.memory != nil {
		if r.Blocks = c.Memory.Len(); s.pace.toSend(int64(r.Blocks)*migration.BlockBytes) < c.Busy {
			r.How = migration.RoundPages
		}
	}
	if err := s.records(&c, r.How == migration.RoundPages, last); err != nil {
		return r, err
	}
	if err := s.changes(&c, r.How == migration.RoundPages, last); err != nil {
		return r, err
	}
	if !last {
		if _, err := exchange.Receive[*migration.Caught](s.conn); err != nil {
			return r, err
		}
	}
	r.Bytes, r.Took = s.m.bytesSent()-before, time.Since(began)
	s.pace.round(r)
	return r, nil
}

// records sends those of the cut; the last message says how the round goes on.
func (s *sourceWalk) records(c *moving.Cut, adopt, last bool) error {
	end := &migration.Tail{From: c.To, Adopt: adopt, More: adopt, Last: last && !adopt}
	if c.Records == nil && c.To > c.From {
		if err := c.Stored(s.ctx); err != nil {
			return err
		}
		err := s.stored(c.From, c.To, func(at uint64, records [][]byte) migration.Message {
			return &migration.Tail{From: at, Records: records, Adopt: adopt, More: true}
		})
		if err != nil {
			return err
		}
		return s.send(end)
	}
	from, records := c.From, c.Records
	for {
		n, size := 0, 0
		for n < len(records) && size < migration.MaxBatchBytes && n < canon.MaxElements/2 {
			size += len(records[n])
			n++
		}
		msg := &migration.Tail{From: from, Records: records[:n], Adopt: adopt, More: true}
		if from, records = from+uint64(n), records[n:]; len(records) == 0 {
			msg.More, msg.Last = end.More, end.Last
		}
		if err := s.send(msg); err != nil {
			return err
		}
		if err := s.sent(size, size); err != nil {
			return err
		}
		if len(records) == 0 {
			return nil
		}
	}
}

// changes follows the memory, and sends what changed where the target is not to
// find it by doing the same.
func (s *sourceWalk) changes(c *moving.Cut, adopt, last bool) error {
	if s.memory == nil {
		return nil
	}
	v := c.Memory
	s.memory.view = v
	if !adopt {
		s.memory.put(v)
		return nil
	}
	if err := s.blocks(v, 0); err != nil {
		return err
	}
	s.memory.put(v)
	state, err := snapshot.EncodeManifest(&v.State, s.memory.hash.Root(&v.State))
	if err != nil {
		return err
	}
	return s.send(&migration.Memory{State: state, Last: last})
}

// pause has the daemon hold its events, and sends the last of what it did.
func (s *sourceWalk) pause() error {
	r, err := s.round(s.m.rounds()+1, true)
	s.final = r
	return err
}

// prepared waits for the target while the daemon holds its events, and so not
// for ever.
func (s *sourceWalk) prepared() error {
	patience := max(leastPatience, 20*s.m.options.Downtime, 4*s.final.Took)
	impatient := time.AfterFunc(patience, s.conn.Abort)
	p, err := exchange.Receive[*migration.Prepared](s.conn)
	if !impatient.Stop() {
		return migration.Failf(migration.TargetUnavailable, "the target did not apply the last events within %v", patience)
	}
	if err != nil {
		return err
	}
	s.final.Took = time.Since(s.paused)
	s.m.passed(s.final)
	if chain.Hash(p.Head) != s.head.Hash || p.Applied != s.head.Applied || p.Sequence != s.head.Sequence {
		return migration.Failf(migration.StateFailed, "the target's head %x after %d events differs from the source's %s after %d",
			p.Head, p.Applied, s.head.Hash, s.head.Applied)
	}
	if s.memory == nil {
		return nil
	}
	root := s.memory.hash.Root(&s.memory.view.State)
	if !bytes.Equal(p.Root, root[:]) {
		return migration.Failf(migration.StateFailed, "the target's memory has hash %x, the source's %x", p.Root, root)
	}
	s.m.root = root[:]
	return nil
}

// leastPatience is for how long a daemon holds its events, at least, before a
// target that is not heard is given up.
const leastPatience = 10 * time.Second
