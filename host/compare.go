package host

import "wasmhost.example/host/chain"

// Order of histories. Two nodes have a history of one daemon each: lists of records,
// each of which names what came before it by hash. What is said here needs no
// network, clock or store.

// extent is how far a history goes.
type extent struct {
	epoch uint64     // of its last record; 0: it has none
	next  uint64     // index after the last record
	sum   chain.Hash // SHA-256 of that record
}

// relation is how the other's history stands to ours.
type relation uint8

const (
	sameHistory  relation = iota
	theirsPrefix          // ours is an extension of theirs
	oursPrefix            // theirs is an extension of ours
	forkedHistories
)

var relationNames = [...]string{"the same", "a beginning of ours", "an extension of ours", "another"}

func (r relation) String() string { return relationNames[r] }

// relate compares two histories. oursAt is the sum of our record where theirs ends,
// theirsAt that of theirs where ours ends; nil: it is not there any more. A history
// whose beginning was trimmed away beyond the end of the other counts as its extension.
func relate(ours, theirs extent, oursAt, theirsAt []byte) relation {
	switch {
	case theirs.next == ours.next:
		if theirs.next == 0 || theirs.sum == ours.sum {
			return sameHistory
		}
	case theirs.next < ours.next:
		if theirs.next == 0 || oursAt == nil || chain.Hash(oursAt) == theirs.sum {
			return theirsPrefix
		}
	case ours.next == 0 || theirsAt == nil || chain.Hash(theirsAt) == ours.sum:
		return oursPrefix
	}
	return forkedHistories
}

// verdict is which of two histories goes on.
type verdict uint8

const (
	oursGoesOn verdict = iota
	theirsGoesOn
	undecided
)

// judge says which of two histories goes on, where the directory has granted epochs up
// to granted: a beginning loses to its extension, and of two that fork the one under
// the higher granted epoch wins. A claim beyond what was granted counts for nothing.
func judge(r relation, ours, theirs extent, granted uint64) verdict {
	switch {
	case theirs.epoch > granted:
		return undecided
	case r == sameHistory || r == theirsPrefix:
		return oursGoesOn
	case r == oursPrefix:
		return theirsGoesOn
	case ours.epoch > theirs.epoch && ours.epoch <= granted:
		return oursGoesOn
	case theirs.epoch > ours.epoch:
		return theirsGoesOn
	}
	return undecided
}

// supersedes reports whether a proven history may replace a copy: it is of a later
// epoch, or longer in the same.
func (e extent) supersedes(copied extent) bool {
	return e.epoch > copied.epoch || e.epoch == copied.epoch && e.next > copied.next
}
