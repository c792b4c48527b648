package problem

import (
	"errors"
	"fmt"
	"strings"

	"wasmhost.example/identity"
)

// Errors of issuing and revoking.
var (
	ErrTooManyTokens       = errors.New("there are too many API tokens")
	ErrNoApplication       = errors.New("no such application")
	ErrApplicationChanged  = errors.New("the application was changed meanwhile")
	ErrTooManyApplications = errors.New("there are too many applications")
	ErrNoSuchToken         = errors.New("no such API token")
)

// ErrNoBackup says that the node has no data directory.
var ErrNoBackup = errors.New("the node keeps nothing on disk: there is nothing to back up")

// ErrSlowBody says that a request's body did not come in time.
var ErrSlowBody = errors.New("the request's body did not come in time")

// ErrBodiesFull says that the bodies of other requests leave no room for one.
var ErrBodiesFull = errors.New("the node holds too many bytes of requests: try again")

// ErrOtherCluster says that a node is to be in one cluster and is in another.
var ErrOtherCluster = errors.New("the cluster has another name")

// ErrStillHere says that a node cannot be removed from its cluster.
var ErrStillHere = errors.New("the node is there: stop it first")

// ErrDrainRunning says that a drain with other options is under way.
var ErrDrainRunning = errors.New("a drain of the node is under way")

// Errors of a Gate.
var (
	ErrCode      = errors.New("the link was used already, is too old, or is not whole")
	ErrSession   = errors.New("the session is not known, or has ended")
	ErrForeign   = errors.New("the request comes from another page, or under another name")
	ErrReadOnly  = errors.New("the dashboard was opened to look only")
	ErrNotPassed = errors.New("a browser is let through to the API alone")
)

// AmbiguousGroupError says that several nodes keep a group of one name.
type AmbiguousGroupError struct {
	Name  string
	Nodes []identity.NodeID // sorted
}

func (e *AmbiguousGroupError) Error() string {
	names := make([]string, len(e.Nodes))
	for i, id := range e.Nodes {
		names[i] = id.String()
	}
	return fmt.Sprintf("nodes %s each keep a group named %q: nothing is sent to any of them", strings.Join(names, ", "), e.Name)
}

// ErrOtherEpoch says that a daemon is not the one that was meant.
var ErrOtherEpoch = errors.New("the daemon is under another epoch")

// ErrMemberAway says that the member that was to have an event is not where it was.
var ErrMemberAway = errors.New("the member is not where it was")

// Errors of callers that come over TCP.
var (
	ErrNoToken      = errors.New("no API token was given")
	ErrTokenUnknown = errors.New("the API token is not known, or was revoked")
	ErrAPIExpired   = errors.New("the API token has expired")
	ErrScope        = errors.New("the API token's scope is too small")
)

// Errors of repeated requests.
var (
	ErrKeyReused = errors.New("the idempotency key is another request's")
	ErrKeyInUse  = errors.New("the request of that idempotency key is being answered")
	ErrKeyLarge  = errors.New("the answer of that idempotency key was too large to be remembered")
)

// ErrKindDiffers says that a kind is not known here, and that those who know it do not
// agree on what it is.
var ErrKindDiffers = errors.New("nodes have different modules under the kind's name")

// ErrOutcomeUnknown says that a request was begun, and ended without its outcome being
// known: it may have been carried out.
var ErrOutcomeUnknown = errors.New("the request was begun, and its outcome is not known; it may have been carried out")

// ErrUneven says why a node that is not to give or take daemons is not evened out.
var ErrUneven = errors.New("the node is being drained: it is not evened out")

// Errors of recoveries.
var (
	errLost        = errors.New("of some daemons no copy is left")
	ErrRecovering  = errors.New("a recovery runs on this node already")
	ErrNotEmbedded = errors.New("the cluster's directory is an etcd of its own: restore that one")
)

// ErrSocketInUse says that another node listens on the socket.
var ErrSocketInUse = errors.New("another node listens on the socket")

// ErrSocketPath says that a path is too long for a unix socket.
var ErrSocketPath = errors.New("the path is too long for a socket")

// ErrOtherUser says that a process of another user connected to the control socket.
var ErrOtherUser = errors.New("a process of another user")
