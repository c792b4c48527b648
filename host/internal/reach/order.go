// Package reach is how far histories of daemons go: what of them is in the store, the proof
// that one node gives another, and which of two goes on. Two nodes have a history of one
// daemon each: lists of records, each of which names what came before it by hash.
package reach

import "wasmhost.example/host/chain"

// What is said on this page needs no network, clock or store.

// Extent is how far a history goes.
type Extent struct {
	Epoch uint64     // of its last record; 0: it has none
	Next  uint64     // index after the last record
	Sum   chain.Hash // SHA-256 of that record
}

// Relation is how the other's history stands to ours.
type Relation uint8

// The relations.
const (
	Same         Relation = iota // both are the same history
	TheirsPrefix                 // ours is an extension of theirs
	OursPrefix                   // theirs is an extension of ours
	Forked                       // they are two histories
)

var relationNames = [...]string{"the same", "a beginning of ours", "an extension of ours", "another"}

// String implements fmt.Stringer.
func (r Relation) String() string { return relationNames[r] }

// Relate compares two histories. oursAt is the sum of our record where theirs ends,
// theirsAt that of theirs where ours ends; nil: it is not there any more. A history
// whose beginning was trimmed away beyond the end of the other counts as its extension.
func Relate(ours, theirs Extent, oursAt, theirsAt []byte) Relation {
	switch {
	case theirs.Next == ours.Next:
		if theirs.Next == 0 || theirs.Sum == ours.Sum {
			return Same
		}
	case theirs.Next < ours.Next:
		if theirs.Next == 0 || oursAt == nil || chain.Hash(oursAt) == theirs.Sum {
			return TheirsPrefix
		}
	case ours.Next == 0 || theirsAt == nil || chain.Hash(theirsAt) == ours.Sum:
		return OursPrefix
	}
	return Forked
}

// Verdict is which of two histories goes on.
type Verdict uint8

// The verdicts.
const (
	OursGoesOn Verdict = iota
	TheirsGoesOn
	Undecided // an operator decides
)

// Judge says which of two histories goes on, where the directory has granted epochs up
// to granted: a beginning loses to its extension, and of two that fork the one under
// the higher granted epoch wins. A claim beyond what was granted counts for nothing.
func Judge(r Relation, ours, theirs Extent, granted uint64) Verdict {
	switch {
	case theirs.Epoch > granted:
		return Undecided
	case r == Same || r == TheirsPrefix:
		return OursGoesOn
	case r == OursPrefix:
		return TheirsGoesOn
	case ours.Epoch > theirs.Epoch && ours.Epoch <= granted:
		return OursGoesOn
	case theirs.Epoch > ours.Epoch:
		return TheirsGoesOn
	}
	return Undecided
}

// Supersedes reports whether a proven history may replace a copy: it is of a later
// epoch, or longer in the same.
func (e Extent) Supersedes(copied Extent) bool {
	return e.Epoch > copied.Epoch || e.Epoch == copied.Epoch && e.Next > copied.Next
}
