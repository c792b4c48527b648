package main

import (
	"fmt"

	"wasmhost.example/host/migration"
)

// step is one transition out of a state.
type step struct {
	to   state
	name string
}

// steps returns all that can happen next.
func (s state) steps(d defect) []step {
	var out []step
	add := func(name string, f func(*state)) {
		next := s
		f(&next)
		if next != s {
			out = append(out, step{next, name})
		}
	}
	s.orchestrate(d, add)
	for i := range s.streams {
		st := &s.streams[i]
		if m := st.toT[0]; m.kind != 0 && s.tUp {
			add(fmt.Sprintf("the target takes %s %d", kindNames[m.kind], m.attempt), func(n *state) { pop(&n.streams[i].toT); n.target(i, m, d) })
		}
		if m := st.toS[0]; m.kind != 0 && s.sUp {
			add(fmt.Sprintf("the source takes %s %d", kindNames[m.kind], m.attempt), func(n *state) { pop(&n.streams[i].toS); n.source(i, m, d) })
		}
		if st.open && !st.broken && s.breaks < breaks {
			add(fmt.Sprintf("stream %d breaks", i), func(n *state) { n.breaks++; n.cut(i) })
		}
		if st.broken && st.sSees && s.sUp {
			add(fmt.Sprintf("the source sees that stream %d broke", i), func(n *state) { n.streams[i].sSees = false; n.sourceLost(i) })
		}
		if st.broken && st.tSees && s.tUp {
			add(fmt.Sprintf("the target sees that stream %d broke", i), func(n *state) { n.streams[i].tSees = false; n.targetLost(i, d) })
		}
	}
	s.crash(d, add)
	for e := range uint8(events) {
		for _, heard := range []bool{true, false} {
			name := fmt.Sprintf("event %d, acknowledged: %v", e, heard)
			if s.sourceServes(d) {
				add("the source applies "+name, func(n *state) { n.apply(&n.sApplied, 1<<e, heard, d) })
			}
			if s.targetServes() {
				add("the target applies "+name, func(n *state) { n.apply(&n.tApplied, 1<<e, heard, d) })
			}
		}
	}
	return out
}

func (s *state) apply(applied *uint8, event uint8, heard bool, d defect) {
	if *applied&event != 0 && d == noHorizon {
		s.twice = true
	}
	*applied |= event
	if heard {
		s.acked |= event
	}
}

// orchestrate begins and cancels attempts, and does what each side does by
// itself.
func (s state) orchestrate(d defect, add func(string, func(*state))) {
	at := s.sAt.Phase()
	if s.sUp && s.sOwn && s.sReleased == 0 && at == 0 && s.begun < attempts {
		add("a migration begins", func(n *state) {
			n.begun++
			n.sAttempt, n.sAt = n.begun, migration.NewSource()
			signal(&n.sAt, migration.Captured, migration.Source)
			n.open(int(n.begun) - 1)
			n.toTarget(int(n.begun)-1, message{offer, n.begun, n.sApplied})
		})
	}
	if s.sUp && s.mayAbort() {
		add("the migration is cancelled", func(n *state) {
			n.toTarget(int(n.sAttempt)-1, message{kind: refuse, attempt: n.sAttempt})
			n.abort()
		})
	}
	if s.sUp && at == migration.Releasing {
		add("the release is durable", func(n *state) {
			signal(&n.sAt, migration.Released, migration.Source)
			n.sReleased = n.sAttempt
			if d != releaseNotDurable {
				n.toTarget(int(n.sAttempt)-1, message{release, n.sAttempt, n.sApplied})
			}
		})
	}
	if s.sUp && s.sReleased != 0 && !s.sMoved && s.free(releases) && (s.streams[s.sReleased-1].broken || !s.streams[s.sReleased-1].open) {
		add("the source repeats its release", func(n *state) {
			n.open(releases)
			n.toTarget(releases, message{release, n.sReleased, n.sApplied})
		})
	}
	if s.tUp && s.tDoubt && s.free(asks) {
		add("the target asks", func(n *state) {
			n.open(asks)
			n.toSource(asks, message{kind: ask, attempt: n.pending()})
		})
	}
}

// signal walks a side's real table; a step that it does not have is a fault of the model.
func signal(m *migration.Machine, sig migration.Signal, by migration.Role) {
	if err := m.Signal(sig, by); err != nil {
		panic(err)
	}
}

// mayAbort reports whether the source may give its attempt up.
func (s *state) mayAbort() bool {
	at := s.sAt.Phase()
	return at != 0 && at != migration.Releasing && !at.Committed()
}

// abort ends an attempt before its release: the source serves on.
func (s *state) abort() {
	signal(&s.sAt, migration.Failed, migration.Source)
	s.sAt, s.sAttempt, s.sPaused = migration.Machine{}, 0, false
}

// source handles a message to the source.
func (s *state) source(i int, m message, d defect) {
	if i == asks {
		s.answer(m)
		return
	}
	at := s.sAt.Phase()
	if i < attempts && (at == 0 || int(s.sAttempt) != i+1) {
		return // of an attempt that was given up
	}
	switch {
	case m.kind == ready && at == migration.Transfer:
		signal(&s.sAt, migration.Received, migration.Target)
		signal(&s.sAt, migration.Restored, migration.Target)
		s.sPaused = true
		s.toTarget(i, message{tail, m.attempt, s.sApplied})
	case m.kind == prepared && at == migration.Replay:
		signal(&s.sAt, migration.Agreed, migration.Source)
		if d == releaseNotDurable {
			s.toTarget(i, message{release, m.attempt, s.sApplied})
		}
	case m.kind == done && at == migration.Cutover:
		signal(&s.sAt, migration.Confirmed, migration.Target)
		signal(&s.sAt, migration.Activated, migration.Target)
		s.sMoved, s.sOwn, s.sPaused, s.sAt = true, false, false, migration.Machine{}
		s.streams[releases] = stream{}
	case m.kind == refuse && s.mayAbort():
		s.abort()
	case m.kind == refuse && i == releases:
		s.streams[releases] = stream{}
	}
}

// answer tells a target in doubt what became of its attempt.
func (s *state) answer(m message) {
	switch {
	case s.sReleased == m.attempt && !s.sMoved:
		s.toTarget(asks, message{release, m.attempt, s.sApplied})
	case s.sAt.Phase() != 0 && s.sAttempt == m.attempt:
		s.toTarget(asks, message{kind: hold, attempt: m.attempt})
	default:
		s.toTarget(asks, message{kind: refuse, attempt: m.attempt})
	}
}

// target handles a message to the target.
func (s *state) target(i int, m message, d defect) {
	switch m.kind {
	case offer:
		s.takeOffer(i, m, d)
	case tail:
		if s.tAt.Phase() != migration.Replay || s.tAttempt != m.attempt {
			s.toSource(i, message{kind: refuse, attempt: m.attempt})
			return
		}
		signal(&s.tAt, migration.Agreed, migration.Target)
		s.tApplied = m.applied
		s.toSource(i, message{kind: prepared, attempt: m.attempt})
	case release:
		switch {
		case s.pending() == m.attempt:
			s.activate()
		case s.tOwn:
		default:
			if i != asks {
				s.toSource(i, message{kind: refuse, attempt: m.attempt})
			}
			return
		}
		if i != asks {
			s.toSource(i, message{kind: done, attempt: m.attempt})
		} else {
			s.streams[asks] = stream{}
		}
	case refuse:
		if s.tAttempt == m.attempt {
			s.drop(migration.Source)
		}
		if i == asks {
			s.streams[asks] = stream{}
		}
	case hold:
		s.streams[asks] = stream{}
	}
}

func (s *state) takeOffer(i int, m message, d defect) {
	if s.tOwn || s.pending() != 0 && d != lateOfferPushesOut {
		s.toSource(i, message{kind: refuse, attempt: m.attempt})
		return
	}
	by := migration.Target // the source begins again
	if s.pending() != 0 {
		by = migration.Source // in a broken twin: as if the source had said so
	}
	s.drop(by)
	s.tAt, s.tAttempt = migration.NewTarget(), m.attempt
	signal(&s.tAt, migration.Received, migration.Target)
	signal(&s.tAt, migration.Restored, migration.Target)
	s.toSource(i, message{kind: ready, attempt: m.attempt})
}

func (s *state) activate() {
	signal(&s.tAt, migration.Released, migration.Source)
	s.tAt, s.tAttempt, s.tDoubt = migration.Machine{}, 0, false
	s.tOwn = true
}

// drop lets go of what is on its way to the target, because of what by said.
func (s *state) drop(by migration.Role) {
	if s.tAt.Phase() != 0 {
		signal(&s.tAt, migration.Failed, by)
	}
	s.tAt, s.tAttempt, s.tDoubt = migration.Machine{}, 0, false
}

// sourceLost is what the source does when a stream broke.
func (s *state) sourceLost(i int) {
	switch {
	case i >= attempts:
		s.streams[i] = stream{}
	case int(s.sAttempt) == i+1 && s.mayAbort():
		s.abort()
	}
}

// targetLost is what the target does when a stream broke.
func (s *state) targetLost(i int, d defect) {
	switch {
	case i >= attempts:
		s.streams[i] = stream{}
	case int(s.pending()) == i+1:
		s.tDoubt = true
		switch d {
		case activateInDoubt:
			s.activate()
		case dropPreparedInDoubt:
			s.drop(migration.Source) // as if it had said so
		}
	case int(s.tAttempt) == i+1:
		s.drop(migration.Target)
	}
}

func (s state) crash(d defect, add func(string, func(*state))) {
	lose := func(n *state) {
		for i := range n.streams {
			if n.streams[i].open {
				n.cut(i)
			}
		}
	}
	sourceCrashes := func(n *state) {
		lose(n)
		n.crashed++
		n.sUp, n.sPaused, n.sAt, n.sAttempt = false, false, migration.Machine{}, 0
		for i := range n.streams {
			n.streams[i].sSees = false
		}
	}
	if s.sUp && s.crashed < crashes && s.sAt.Phase() == migration.Releasing {
		add("the source crashes when its release is on disk", func(n *state) {
			n.sReleased = n.sAttempt
			sourceCrashes(n)
		})
	}
	switch {
	case s.sUp && s.crashed < crashes:
		add("the source crashes", sourceCrashes)
	case !s.sUp:
		add("the source starts", func(n *state) {
			n.sUp = true
			n.streams[releases] = stream{}
			if n.sReleased != 0 && !n.sMoved {
				n.sAt, n.sAttempt, n.sPaused = migration.ResumeSource(false), n.sReleased, d != serveAfterRelease
			}
		})
	}
	switch {
	case s.tUp && s.crashed < crashes:
		add("the target crashes", func(n *state) {
			lose(n)
			n.crashed++
			n.tUp, n.tDoubt = false, false
			if n.pending() == 0 || d == forgetPrepared {
				n.tAt, n.tAttempt = migration.Machine{}, 0
			}
			for i := range n.streams {
				n.streams[i].tSees = false
			}
		})
	case !s.tUp:
		add("the target starts", func(n *state) {
			n.tUp = true
			n.streams[asks] = stream{}
			if n.tDoubt = n.pending() != 0; n.tDoubt {
				n.tAt = migration.ResumeTarget()
			}
		})
	}
}

// open opens a stream anew.
func (s *state) open(i int) { s.streams[i] = stream{open: true, sSees: true, tSees: true} }

func (s *state) free(i int) bool { return !s.streams[i].open }

// cut breaks a stream: what is on the way is lost.
func (s *state) cut(i int) {
	s.streams[i].broken = true
	s.streams[i].toS, s.streams[i].toT = [2]message{}, [2]message{}
}

func (s *state) toTarget(i int, m message) { push(&s.streams[i], &s.streams[i].toT, m) }
func (s *state) toSource(i int, m message) { push(&s.streams[i], &s.streams[i].toS, m) }

func push(st *stream, q *[2]message, m message) {
	switch {
	case st.broken || !st.open: // sent into nothing
	case q[0].kind == 0:
		q[0] = m
	case q[1].kind == 0:
		q[1] = m
	default:
		panic("more messages than a walk has")
	}
}

func pop(q *[2]message) { q[0], q[1] = q[1], message{} }
