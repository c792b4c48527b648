package host

import (
	"bytes"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/internal/canon"
)

// The middle of the source's walk. What the daemon did since the view goes to
// the target in rounds, while it goes on doing more, until what is left would
// hold up its senders for no longer than they may be.

// The defaults and bounds of MigrationOptions.
const (
	DefaultDowntime = 50 * time.Millisecond
	DefaultRounds   = 30
	MaxRounds       = migration.MaxRounds // rounds of a migration before its pause

	enough    = time.Millisecond      // a pause that no round is worth shortening
	mostPace  = 20 * time.Millisecond // between two events of a daemon that is slowed
	leastPace = 20 * time.Microsecond
)

// catchUp makes rounds until the pause would be short enough, and another would
// not make it much shorter. A daemon that does more than a round can carry is
// slowed. When rounds run out the pause comes all the same.
func (s *sourceWalk) catchUp() error {
	o := &s.m.options
	before := time.Duration(1<<63 - 1)
	for n := 1; n <= o.MaxRounds; n++ {
		left := s.left()
		if left <= enough || left <= s.fits() && left > before/4*3 {
			return nil
		}
		r, err := s.round(n, false)
		if err != nil {
			return err
		}
		if r.Left = s.left(); r.Left > s.fits() && r.Left > left/4*3 {
			s.slow(r)
		}
		r.Slowed = s.d.Pacer().Interval()
		s.m.passed(r)
		before = left
	}
	if left := s.left(); left > o.Downtime {
		s.m.env.Logger.Warn("a daemon does more than the rounds of its migration could carry; its senders will wait for longer than they should",
			"daemon", s.d.id.Origin(), "rounds", o.MaxRounds, "expected", left, "downtime", o.Downtime)
	}
	return nil
}

// fits is how long the pause may be: as was asked for, or what the way there and
// back takes in any case.
func (s *sourceWalk) fits() time.Duration { return max(s.m.options.Downtime, 2*s.pace.trip) }

// slow has the daemon do half as much as in the last round, within bounds.
func (s *sourceWalk) slow(r migration.Round) {
	now := s.d.Pacer().Interval()
	next := 2 * now
	if now == 0 {
		next = 2 * r.Took / time.Duration(max(r.Records, 1))
	}
	if next = min(max(next, leastPace), mostPace); next == now {
		return
	}
	s.d.Pacer().Set(next)
	s.m.env.Logger.Warn("a daemon is slowed so that its migration can end", "daemon", s.d.id.Origin(), "interval", next)
}

// left is how long the pause would be now.
func (s *sourceWalk) left() time.Duration {
	s.d.mu.Lock()
	held := s.d.Tail().Held()
	s.d.mu.Unlock()
	cost := held.Busy
	if s.memory != nil && s.pace.known {
		cost = min(cost, s.pace.toSend(int64(s.pace.blocks*float64(held.Records))*migration.BlockBytes))
	}
	return s.pace.trip + s.pace.toSend(held.Bytes) + cost
}

// cut takes what the daemon did since the last one. It needs d.mu.
func (s *sourceWalk) cut() (moving.Cut, error) {
	c, err := s.d.Tail().Take()
	if err != nil {
		return c, err
	}
	if c.Records == nil {
		c.Stored = s.d.last.wait
	}
	if s.memory != nil {
		c.Memory, err = s.memory.of.Freeze(s.memory.view)
	}
	return c, err
}

// round sends what happened since the last one. The last round begins with the
// pause, and Prepared answers it.
func (s *sourceWalk) round(n int, last bool) (migration.Round, error) {
	began, before := time.Now(), s.m.bytesSent()
	r := migration.Round{Number: n, How: migration.RoundReplay}
	s.d.mu.Lock()
	if s.d.life.State() != lifecycle.Running {
		defer s.d.mu.Unlock()
		return r, fmt.Errorf("daemon %s takes no events: %w", s.d.id.Origin(), s.d.gone)
	}
	if last {
		s.d.pause()
		s.paused = began
	}
	c, err := s.cut()
	s.head = s.d.chain.HeadHash()
	s.d.mu.Unlock()
	if err != nil {
		return r, err
	}
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
	if chain.Hash(p.Head) != s.head || p.Applied != s.d.applied || p.Sequence != s.d.chain.Head().Sequence {
		return migration.Failf(migration.StateFailed, "the target's head %x after %d events differs from the source's %s after %d",
			p.Head, p.Applied, s.head, s.d.applied)
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

// pace knows how fast a migration goes.
type pace struct {
	rate   float64       // bytes per second; 0: not known
	trip   time.Duration // of the shortest round
	blocks float64       // of memory that a record stands for, in the last round that had some
	known  bool          // blocks is
	debt   time.Duration // to be slept for the bytes that went
	paid   time.Time
}

// sent learns from what went in a time.
func (p *pace) sent(bytes int64, took time.Duration) {
	if bytes >= 64<<10 && took > 0 {
		p.rate = float64(bytes) / took.Seconds()
	}
}

// round learns from a round.
func (p *pace) round(r migration.Round) {
	p.sent(r.Bytes, r.Took)
	if p.trip == 0 || r.Took < p.trip {
		p.trip = r.Took
	}
	if r.Records > 0 {
		p.blocks, p.known = float64(r.Blocks)/float64(r.Records), true
	}
}

// toSend is how long bytes take.
func (p *pace) toSend(bytes int64) time.Duration {
	const unknown = 50 << 20 // bytes per second
	rate := p.rate
	if rate == 0 {
		rate = unknown
	}
	return time.Duration(float64(bytes) / rate * float64(time.Second))
}

// wait returns for how long to sleep now that bytes went, so that no more than
// rate go in a second.
func (p *pace) wait(bytes, rate int64) time.Duration {
	if rate <= 0 {
		return 0
	}
	const burst = 10 * time.Millisecond
	now := time.Now()
	if !p.paid.IsZero() {
		p.debt = max(p.debt-now.Sub(p.paid), -burst)
	}
	p.paid = now
	p.debt += time.Duration(float64(bytes) / float64(rate) * float64(time.Second))
	return max(p.debt, 0)
}
