package source

import (
	"time"

	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/migration"
)

// How a migration goes on is arithmetic: nothing here waits, or asks anybody.

const (
	enough    = time.Millisecond      // a pause that no round is worth shortening
	mostPace  = 20 * time.Millisecond // between two events of a daemon that is slowed
	leastPace = 20 * time.Microsecond

	forever = time.Duration(1<<63 - 1)
)

// step is what comes next.
type step uint8

const (
	pauseNow     step = iota + 1
	anotherRound      // while the daemon goes on as it does
	slowDown          // another round, while the daemon does less
)

// position is where the rounds of a migration stand.
type position struct {
	round, most int           // the number of the next round, and of the last that may be
	left        time.Duration // how long the pause would be now
	before      time.Duration // and was to be before the last round; forever: there was none
	fits        time.Duration // how long the pause may be
}

// next decides what comes next. Rounds are made until the pause would be short enough,
// and another would not make it much shorter.
func (p position) next() step {
	stuck := p.left > p.before/4*3
	switch {
	case p.left <= enough, p.left <= p.fits && stuck, p.round > p.most:
		return pauseNow
	case stuck:
		return slowDown
	}
	return anotherRound
}

// after is the position once the round was made, before the next is counted.
func (p position) after(left, fits time.Duration) position {
	p.before, p.left, p.fits = p.left, left, fits
	return p
}

// slower returns how far apart the events of a daemon are to be that does half as much
// as in a round; now is how far they are, 0: it was not slowed.
func slower(now time.Duration, r migration.Round) time.Duration {
	next := 2 * now
	if now == 0 {
		next = 2 * r.Took / time.Duration(max(r.Records, 1))
	}
	return min(max(next, leastPace), mostPace)
}

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

// pause returns for how long senders would wait for what a daemon did, once it pauses.
// Where its memory goes by itself the target need not do it again.
func (p *pace) pause(did moving.Held, memory bool) time.Duration {
	cost := did.Busy
	if memory && p.known {
		cost = min(cost, p.toSend(int64(p.blocks*float64(did.Records))*migration.BlockBytes))
	}
	return p.trip + p.toSend(did.Bytes) + cost
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
