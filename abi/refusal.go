package abi

import "fmt"

// Refusal says why a module is not accepted: what was found, and what its
// author can do.
type Refusal struct {
	Code  string `json:"code"`  // stable
	Found string `json:"found"` // what is there, or missing
	Mend  string `json:"mend"`  // what to do
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("module refused (%s): %s; %s", r.Code, r.Found, r.Mend)
}

// The codes of a Refusal.
const (
	RefusedNotWasm      = "not-wasm"            // no Wasm binary at all
	RefusedTruncated    = "truncated"           // ends inside a section
	RefusedMalformed    = "malformed"           // a section breaks the binary format
	RefusedInvalid      = "invalid"             // well-formed, but does not validate
	RefusedOversized    = "oversized"           // larger than the host takes
	RefusedComponent    = "component"           // a component, not a core module
	RefusedVersion      = "wrong-abi-version"   // follows another version of the contract
	RefusedMissing      = "missing-export"      // lacks an export that the contract needs
	RefusedSignature    = "wrong-signature"     // an export or import has another type
	RefusedImport       = "unknown-import"      // imports what the host does not offer
	RefusedFeature      = "unsupported-feature" // uses a feature that the host does not run
	RefusedMemory       = "memory-limit"        // needs more memory than the host gives
	RefusedHalfHooks    = "half-hooks"          // exports one of snapshot and restore
	RefusedBothStates   = "contradictory-state" // stateless, and with hooks
	RefusedStart        = "start-failed"        // fails before its first call
	RefusedReservedName = "reserved-name"       // exports a name that the host keeps for itself
)
