// Package snapshot is all that another host needs to become a daemon, in its encoded form:
// the header with what the daemon keeps (Header, Facts), its checkpoint, and its state, which
// is given by its code, or captured memory (MemoryWriter, MemoryReader) that may travel
// apart from its blocks. The table of applied event numbers, by which each event is applied
// once, is part of every snapshot (DedupTable), and so are the places that it has for
// senders.
//
// It reads and writes bytes, and checks them: forms, bounds, hashes and signatures. It knows
// no runtime and no running daemon; of the store only the file of a large state.
package snapshot
