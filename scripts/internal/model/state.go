// Command model explores every interleaving of one daemon's migration between
// a source and a target: messages on streams that break and overtake one
// another, crashes and restarts of either side, cancelled attempts, events and
// lost acknowledgements. It checks what must hold in each state, and that
// broken twins of the protocol are found out.
//
// Both sides walk host/migration's own tables.
package main

import "wasmhost.example/host/migration"

// Bounds of what is explored.
const (
	attempts = 2 // migrations that are begun
	events   = 2 // events that a client sends, each as often as it likes
	crashes  = 2 // of both sides together
	breaks   = 2 // of streams
)

// kind is a message. What carries no decision is folded: an offer brings
// module, history and snapshot.
type kind uint8

const (
	offer kind = iota + 1
	ready
	tail
	prepared
	release
	done
	refuse
	ask
	hold
)

var kindNames = [...]string{offer: "Offer", ready: "Ready", tail: "Tail", prepared: "Prepared", release: "Release",
	done: "Done", refuse: "Refuse", ask: "Ask", hold: "Hold"}

type message struct {
	kind    kind
	attempt uint8 // counted from 1
	applied uint8 // events, a bit for each
}

// stream is one connection: two queues, in order. Streams overtake each other.
type stream struct {
	open, broken bool
	sSees, tSees bool // who still looks at it
	toT, toS     [2]message
}

// Streams: the walk of each attempt, the source's repeated release, the
// target's question.
const (
	releases = attempts
	asks     = attempts + 1
	streams  = attempts + 2
)

// state is all there is. It is comparable: the key of what was explored.
type state struct {
	// The source. Durable: own, released, moved, applied.
	sUp, sOwn, sMoved, sPaused bool
	sReleased, sAttempt        uint8             // attempts, counted from 1; 0: none
	sAt                        migration.Machine // the zero Machine: no attempt
	sApplied                   uint8

	// The target. Durable: own, applied, and tAt where it is Pending.
	tUp, tOwn, tDoubt bool
	tAt               migration.Machine // the zero Machine: nothing is on its way
	tAttempt          uint8             // of tAt
	tApplied          uint8

	streams [streams]stream

	acked           uint8
	begun           uint8
	crashed, breaks uint8
	twice           bool // an event was applied twice
}

// defect is a way in which a twin is broken.
type defect string

const (
	none                defect = ""
	releaseNotDurable   defect = "release-before-durable"
	activateInDoubt     defect = "activate-in-doubt"
	serveAfterRelease   defect = "serve-after-release"
	forgetPrepared      defect = "forget-prepared"
	noHorizon           defect = "no-horizon"
	serveWhilePaused    defect = "serve-while-paused"
	lateOfferPushesOut  defect = "late-offer-pushes-out"
	dropPreparedInDoubt defect = "drop-prepared-in-doubt"
)

var defects = []defect{releaseNotDurable, activateInDoubt, serveAfterRelease, forgetPrepared, noHorizon, serveWhilePaused, lateOfferPushesOut, dropPreparedInDoubt}

func initial() state { return state{sUp: true, tUp: true, sOwn: true} }

func (s *state) sourceServes(d defect) bool {
	if !s.sUp || !s.sOwn {
		return false
	}
	return (!s.sPaused || d == serveWhilePaused) && (s.sReleased == 0 || d == serveAfterRelease)
}

// pending is the attempt that the target has prepared; 0: none.
func (s *state) pending() uint8 {
	if s.tAt.Phase() != migration.Pending {
		return 0
	}
	return s.tAttempt
}

func (s *state) targetServes() bool { return s.tUp && s.tOwn }

// settled says that one side serves and nothing is in doubt.
func (s *state) settled(d defect) bool {
	return s.sUp && s.tUp && s.sourceServes(d) != s.targetServes() && s.pending() == 0 && !s.tDoubt && (s.sReleased == 0 || s.sMoved)
}

// violated names an invariant that does not hold, or is empty.
func (s *state) violated(d defect) string {
	switch {
	case s.sourceServes(d) && s.targetServes():
		return "both sides serve"
	case s.sOwn && s.sReleased == 0 && s.tOwn:
		return "both sides own it durably"
	case s.sourceServes(d) && s.sReleased != 0:
		return "the source serves after its release"
	case s.sourceServes(d) && s.acked&^s.sApplied != 0, s.targetServes() && s.acked&^s.tApplied != 0:
		return "an acknowledged event is lost"
	case s.twice:
		return "an event was applied twice"
	}
	return ""
}
