package identity

// A daemon remembers senders by id. An id that belongs to a scope, a peer or an API
// token, shows the scope, so that places can be counted by scope and no scope can name
// another's sender:
//
//	4 bytes  scopedMark
//	12 bytes of the scope
//	16 bytes of the scope and the sender's name within it
//
// It is nobody's public key.

// SenderScope tells scopes apart.
type SenderScope [12]byte

// Domains of scoped senders, and how their ids begin.
const (
	scopeDomain  = "wasmhost-sender-scope-v1"
	scopedDomain = "wasmhost-scoped-sender-v1"
	scopedMark   = "\x00wss"
)

// ScopedSender returns the id under which the scope's sender, named by an id that is
// unique within the scope, sends events.
func ScopedSender(scope string, sender EntityID) EntityID {
	of := keyed(scopeDomain, []byte(scope))
	name := keyed(scopedDomain, of[:], sender[:])

	var id EntityID
	n := copy(id[:], scopedMark)
	n += copy(id[n:], of[:len(SenderScope{})])
	copy(id[n:], name[:])
	return id
}

// LaneScope is the scope of the senders by which nodes number the events that nobody
// else numbers.
var LaneScope, _ = LaneSender("").Scope()

// LaneSender returns the id of such a sender, by a name that is unique among nodes.
func LaneSender(name string) EntityID { return ScopedSender("lanes", NamedSender(name)) }

// Scope returns the scope of an id that ScopedSender made; false for any other.
func (id EntityID) Scope() (scope SenderScope, ok bool) {
	if string(id[:len(scopedMark)]) != scopedMark {
		return SenderScope{}, false
	}
	copy(scope[:], id[len(scopedMark):])
	return scope, true
}
