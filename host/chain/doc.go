// Package chain holds what a daemon's chain of outputs proves, offline: links, signed
// checkpoints, chain files, forks, receipts of moves, and proofs that a key has signed two
// histories. It needs neither a store nor a runtime. Formats are canonical CBOR (RFC 8949,
// section 4.2.1), hashes SHA-256, signatures Ed25519 (RFC 8032).
package chain
