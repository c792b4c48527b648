package daemon

import (
	"errors"
	"fmt"
	"strings"
)

// Limits that are fine one by one may not fit one another: a daemon whose memory may grow
// beyond what its state may have would one day be neither saved nor moved. They are
// compared when they are given, so that no daemon gets there.

// ErrUnfit says that limits do not fit one another. The error is an *UnfitError, which is
// ErrBadLimit too.
var ErrUnfit = errors.New("the limits do not fit one another")

// Unfit is two limits that do not fit one another.
type Unfit struct {
	Limit   string // what is too much for the other
	Value   int64
	Against string // the limit that it does not fit
	Allows  int64  // what that one is
	Why     string // what would go wrong
	Set     string // what to set instead
}

// String says which two, and what to set.
func (u Unfit) String() string {
	return fmt.Sprintf("%s is %s and %s is %s: %s; set %s", u.Limit, LimitText(u.Limit, u.Value), u.Against, LimitText(u.Against, u.Allows), u.Why, u.Set)
}

// UnfitError lists all pairs that do not fit.
type UnfitError struct{ Pairs []Unfit }

func (e *UnfitError) Error() string {
	texts := make([]string, len(e.Pairs))
	for i, p := range e.Pairs {
		texts[i] = p.String()
	}
	return ErrUnfit.Error() + ": " + strings.Join(texts, "; and ")
}

// Is makes errors.Is(err, ErrUnfit) and errors.Is(err, ErrBadLimit) hold.
func (e *UnfitError) Is(target error) bool { return target == ErrUnfit || target == ErrBadLimit }

// Fit compares the limits of a node, where they are set over DefaultLimits. The error is
// an *UnfitError.
func (l Limits) Fit() error {
	all := l.Over(DefaultLimits)
	node := all.Storable() // what a node of its own daemons' size takes in
	return fitError(unfit(l, all, node))
}

// FitOn compares the limits that a kind or a daemon has of its own with one another and
// with those of a node, where those are set over DefaultLimits. The error is an
// *UnfitError.
func (l Limits) FitOn(node Limits) error {
	node = node.Over(DefaultLimits)
	return fitError(unfit(l, l.Over(node), node))
}

func fitError(pairs []Unfit) error {
	if len(pairs) == 0 {
		return nil
	}
	return &UnfitError{pairs}
}

// unfit returns which of the limits that hold do not fit one another, or the node. Where
// what mends one pair would not fit either, both are said. given is what somebody set.
func unfit(given, all, node Limits) []Unfit {
	var pairs []Unfit
	if all.MemoryBytes > all.StateBytes {
		pairs = append(pairs, Unfit{"memory", all.MemoryBytes, "state-bytes", all.StateBytes,
			"a state of as much as fits in memory could be neither saved nor moved",
			fmt.Sprintf("state-bytes=%s, or memory to at most %s", LimitText("state-bytes", all.MemoryBytes), LimitText("memory", all.StateBytes))})
	}

	if most := node.MostArriving(); all.MemoryBytes > most {
		pairs = append(pairs, Unfit{"memory", all.MemoryBytes, "the node's room for a daemon that arrives", most,
			"no node with the limits of this one would take the daemon in",
			fmt.Sprintf("state-bytes=%s for the nodes (wasmhost serve --limit), or memory to at most %s", LimitText("state-bytes", all.MemoryBytes), LimitText("memory", most))})
	}

	if given.EventBytes != 0 && int64(all.EventBytes) > all.MemoryBytes {
		pairs = append(pairs, Unfit{"event-bytes", int64(all.EventBytes), "memory", all.MemoryBytes,
			"the largest event would not fit in memory",
			fmt.Sprintf("memory to more than %s, or event-bytes to less than %s", LimitText("memory", int64(all.EventBytes)), LimitText("event-bytes", all.MemoryBytes))})
	}
	return pairs
}

// FitArriving returns nil where a daemon for which l holds can come to a node of such
// limits: the node bounds what may arrive of one. The error is an *UnfitError.
func (l Limits) FitArriving(node Limits) error {
	most := node.MostArriving()
	if l.MemoryBytes <= most {
		return nil
	}
	return &UnfitError{[]Unfit{{"memory", l.MemoryBytes, "the node's room for a daemon that arrives", most,
		"a daemon that may have so much memory does not come here",
		fmt.Sprintf("state-bytes=%s for this node (wasmhost serve --limit), or the daemon's memory to at most %s (wasmhost limits set)", LimitText("state-bytes", l.MemoryBytes), LimitText("memory", most))}}}
}

// What a daemon on its way to a node takes there, beside its state.
const (
	ArrivalBytes    = 512 << 20 // what one peer's daemons may take at the least
	MaxSnapshotRest = 64 << 20  // of a snapshot but for its state
)

// MostArriving returns the largest memory with which a daemon may come to a node of such
// limits: beside it there is room for its module, and for the rest of its snapshot.
func (l Limits) MostArriving() int64 {
	return max(ArrivalBytes-l.ModuleBytes-MaxSnapshotRest, l.StateBytes)
}

// Storable returns the limits with those raised that would keep a daemon from being saved.
// Daemons of earlier versions may have such: limits that do not fit are given no more.
func (l Limits) Storable() Limits {
	l.StateBytes = max(l.StateBytes, l.MemoryBytes)
	return l
}

// StoredLimits is LimitsOf for limits that were stored or sent: what an earlier version let
// be given beyond today's bounds counts as the bound.
func StoredLimits(m map[string]int64) (Limits, error) {
	l, err := limitsOf(m, false)
	if err != nil {
		return Limits{}, err
	}

	for _, f := range limitFields {
		if v := f.get(&l); v > f.most {
			f.set(&l, f.most)
		}
	}
	return l, l.ValidateOwn()
}

// Concerning returns the error where the change has to do with it: what did not fit before
// does not keep other limits from being set.
func Concerning(err error, change map[string]int64) error {
	var unfit *UnfitError
	if !errors.As(err, &unfit) {
		return err
	}

	var pairs []Unfit
	for _, p := range unfit.Pairs {
		_, one := change[p.Limit]
		_, other := change[p.Against]
		if one || other {
			pairs = append(pairs, p)
		}
	}

	return fitError(pairs)
}
