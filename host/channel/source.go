package channel

import (
	"encoding/binary"
	"strings"

	"wasmhost.example/identity"
)

// SourceOf is the identity under which a channel's events come: the sender
// whose numbers are the channel's sequences. born is drawn when the channel is
// made, so that another channel of the same name, whose sequences begin anew,
// is another sender.
func SourceOf(publisher identity.NodeID, born [16]byte, name string) identity.EntityID {
	id := binary.BigEndian.AppendUint64(make([]byte, 0, 24+len(name)), uint64(publisher))
	return identity.ChannelSource(append(append(id, born[:]...), name...))
}

// outputs begins the names of the channels that are daemons' outputs.
const outputs = "out/"

// OutputsOf returns the channel on which a daemon's outputs are published, each
// under its sequence on the daemon's chain.
func OutputsOf(o identity.OriginHash) string { return outputs + o.String() }

// IsOutputs reports whether a name is, or looks like, that of a daemon's
// outputs, and of which daemon.
func IsOutputs(name string) (identity.OriginHash, bool) {
	rest, ok := strings.CutPrefix(name, outputs)
	if !ok {
		return 0, name == "out"
	}

	o, err := identity.ParseOriginHash(rest)
	if err != nil {
		return 0, true
	}
	return o, true
}

// OutputsSource is SourceOf for a daemon's outputs: it is the same wherever the
// daemon is.
func OutputsSource(daemon identity.EntityID) identity.EntityID {
	return identity.ChannelSource(append([]byte(outputs), daemon[:]...))
}
