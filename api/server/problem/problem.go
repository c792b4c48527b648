// Package problem maps what goes wrong with a request to the problem that the API answers
// with: a code that does not change, a status, an exit code and a hint. The errors that the
// server itself makes are here too, beside their codes.
package problem

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"wasmhost.example/abi"
	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/host"
	"wasmhost.example/host/backup"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/group"
	"wasmhost.example/host/guesttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/placement"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// VerdictsOf returns what placement made of each node; never nil.
func VerdictsOf(all []placement.Verdict) []api.Verdict {
	out := []api.Verdict{}
	for _, v := range all {
		out = append(out, api.Verdict{NodeID: v.ID.String(), Name: v.Name, Fits: v.Fits(), Misses: v.Misses, Score: v.Score, Reasons: v.Reasons})
	}
	return out
}

// errorCodes maps errors to problem codes: the first row whose error matches decides.
var errorCodes = []struct {
	err  error
	code string
}{
	{daemon.ErrUnconfirmed, "unconfirmed"},
	{host.ErrTwin, "twin-runs"},
	{daemon.ErrNotFound, "daemon-not-found"},
	{daemon.ErrBadRef, "bad-reference"},
	{daemon.ErrUnproven, "residence-unproven"},
	{daemon.ErrNotKept, "identity-not-kept"},
	{ErrKindDiffers, "kind-differs"},
	{daemon.ErrKindNotFound, "kind-not-found"},
	{mesh.ErrUnknownNode, "node-not-found"},
	{directory.ErrNoCluster, "no-cluster"},
	{daemon.ErrHolding, "holding"},
	{daemon.ErrHeld, "held"},
	{daemon.ErrNotHeld, "not-held"},
	{daemon.ErrFurther, "proven-further"},
	{daemon.ErrNoneFurther, "none-further"},
	{daemon.ErrComing, "coming"},
	{directory.ErrBadStandbys, "bad-standbys"},
	{directory.ErrBadAck, "bad-ack"},
	{directory.ErrOlder, "directory-older"},
	{directory.ErrDamaged, "directory-damaged"},
	{directory.ErrAnswers, "directory-present"},
	{chain.ErrOtherEnd, "copy-changed"},
	{errLost, "daemons-lost"},
	{ErrRecovering, "recovery-running"},
	{ErrNotEmbedded, "external-directory"},
	{ErrOtherCluster, "other-cluster"},
	{directory.ErrRemoved, "removed"},
	{directory.ErrVersion, "other-version"},
	{directory.ErrLate, "directory-late"},
	{directory.ErrEngine, "directory-unreachable"},
	{directory.ErrBusy, "directory-busy"},
	{directory.ErrDenied, "directory-denied"},
	{ErrStillHere, "member-present"},
	{daemon.ErrDraining, "draining"},
	{registry.ErrCompileBudget, "compile-budget"},
	{registry.ErrCompileQueue, "compile-queue-full"},
	{registry.ErrModuleUnsigned, "module-unsigned"},
	{registry.ErrBadSignature, "bad-signature"},
	{api.ErrNotEverywhere, "kind-not-everywhere"},
	{api.ErrRollout, "upgrade-incomplete"},
	{drain.ErrIncomplete, "drain-incomplete"},
	{ErrUneven, "node-draining"},
	{ErrDrainRunning, "drain-running"},
	{chain.ErrEquivocated, "equivocation"},
	{daemon.ErrNotAccused, "not-accused"},
	{daemon.ErrNoForkPoint, "no-fork-point"},
	{daemon.ErrHistoryTrimmed, "history-trimmed"},
	{chain.ErrForkMismatch, "fork-mismatch"},
	{chain.ErrNotFork, "not-a-fork"},
	{chain.ErrBadProof, "bad-proof"},
	{chain.ErrNoEquivocation, "no-equivocation"},
	{group.ErrNotFound, "group-not-found"},
	{group.ErrExists, "group-exists"},
	{group.ErrInvalid, "bad-group"},
	{group.ErrUnknown, "member-not-found"},
	{group.ErrMemberAlive, "member-alive"},
	{group.ErrLeased, "member-leased"},
	{group.ErrMemberGone, "binding-gone"},
	{group.ErrTooManySenders, "group-senders-full"},
	{group.ErrSenderQuota, "group-sender-quota"},
	{group.ErrBusy, "member-busy"},
	{ErrMemberAway, "member-away"},
	{group.ErrNoHealthy, "no-healthy-member"},
	{ErrOtherEpoch, "other-epoch"},
	{placement.ErrNoNode, "no-node-fits"},
	{placement.ErrBadTag, "bad-tag"},
	{daemon.ErrModuleNotFound, "module-not-found"},
	{daemon.ErrKindExists, "kind-exists"},
	{daemon.ErrKindInUse, "kind-in-use"},
	{daemon.ErrAlreadyPresent, "already-present"},
	{daemon.ErrNameTaken, "name-taken"},
	{daemon.ErrAlreadyMigrating, "already-migrating"},
	{daemon.ErrIdentityMismatch, "identity-mismatch"},
	{daemon.ErrUnfit, "limits-unfit"},
	{daemon.ErrBadLimit, "bad-limit"},
	{host.ErrSettled, "settled"},
	{host.ErrNotFailed, "not-failed"},
	{daemon.ErrCannotUpgrade, "cannot-upgrade"},
	{daemon.ErrNotQuarantined, "not-quarantined"},
	{daemon.ErrBadName, "bad-name"},
	{chain.ErrBadReceipt, "bad-receipt"},
	{chain.ErrNoReceipt, "no-receipt"},
	{daemon.ErrBadSnapshot, "bad-snapshot"},
	{daemon.ErrHalted, "daemon-stopped"},
	{daemon.ErrManyReaders, "too-many-readers"},
	{daemon.ErrManyQueries, "too-many-queries"},
	{daemon.ErrNoQueries, "no-queries"},
	{client.ErrAnswerTooLarge, "answer-too-large"},
	{ErrBodiesFull, "bodies-full"},
	{budget.ErrFull, "bytes-full"},
	{daemon.ErrMailboxFull, "mailbox-full"},
	{daemon.ErrSuperseded, "superseded"},
	{daemon.ErrReused, "id-reused"},
	{guesttest.ErrOtherModule, "other-module"},
	{guesttest.ErrMalformed, "bad-state-file"},
	{daemon.ErrConfigTooLarge, "config-too-large"},
	{daemon.ErrStateTooLarge, "state-too-large"},
	{daemon.ErrTooLarge, "too-large"},
	{daemon.ErrHorizonFull, "too-many-senders"},
	{daemon.ErrSenderQuota, "sender-quota"},
	{daemon.ErrEventNumber, "bad-event-number"},
	{wire.ErrTooManySenders, "too-many-open"},
	{daemon.ErrNotPortable, "not-portable"},
	{daemon.ErrDiverged, "diverged"},
	{daemon.ErrNoHistory, "no-history"},
	{daemon.ErrNotReady, "not-ready"},
	{daemon.ErrShuttingDown, "shutting-down"},
	{client.ErrNoNode, "unreachable"},
	{mesh.ErrUnreachable, "unreachable"},
	{daemon.ErrNotSupported, "not-supported"},
	{trust.ErrDenied, "denied"},
	{wire.ErrUntrusted, "untrusted"},
	{trust.ErrTokenRefused, "token-refused"},
	{trust.ErrTokenExpired, "token-expired"},
	{trust.ErrBadToken, "bad-token"},
	{channel.ErrRemoved, "channel-removed"},
	{channel.ErrChanged, "channel-changed"},
	{channel.ErrBadCursor, "bad-cursor"},
	{host.ErrCursorGone, "cursor-gone"},
	{channel.ErrNoChannel, "channel-not-found"},
	{effect.ErrBadGrant, "bad-grant"},
	{channel.ErrExists, "channel-exists"},
	{channel.ErrReserved, "channel-reserved"},
	{channel.ErrTooMany, "too-many-channels"},
	{channel.ErrNoToken, "token-needed"},
	{channel.ErrDenied, "channel-denied"},
	{channel.ErrThrottled, "throttled"},
	{channel.ErrResidence, "not-proven"},
	{channel.ErrSuperseded, "subscription-superseded"},
	{channel.ErrNotMember, "not-subscribed"},
	{channel.ErrPayload, "event-too-large"},
	{channel.ErrNotReady, "channel-not-ready"},
	{channel.ErrOther, "channel-failed"},
	{channel.ErrLedgerFull, "too-many-subscriptions"},
	{daemon.ErrReserved, "sender-reserved"},
	{identity.ErrTokenFormat, "permission-malformed"},
	{identity.ErrTokenTrailing, "permission-trailing"},
	{identity.ErrTokenZeroTTL, "permission-ttl"},
	{identity.ErrTokenTTL, "permission-too-long"},
	{identity.ErrTokenLinks, "permission-links"},
	{identity.ErrTokenSignature, "permission-signature"},
	{identity.ErrTokenNotYetValid, "permission-early"},
	{identity.ErrTokenExpired, "permission-expired"},
	{identity.ErrTokenRevoked, "permission-revoked"},
	{identity.ErrTokenRoot, "permission-root"},
	{identity.ErrTokenSubject, "permission-subject"},
	{identity.ErrTokenScope, "permission-scope"},
	{identity.ErrTokenChannel, "permission-channel"},
	{identity.ErrTokenSigner, "permission-signer"},
	{identity.ErrTokenBroader, "permission-broader"},
	{identity.ErrDelegationExhausted, "permission-depth"},
	{identity.ErrDelegationNotAllowed, "permission-delegate"},
	{identity.ErrNotTokenSubject, "permission-delegator"},
	{identity.ErrTooManyRevocations, "too-many-revocations"},
	{identity.ErrBadChannel, "bad-channel"},
	{identity.ErrReadOnly, "no-private-key"},
	{identity.ErrMalformed, "malformed-identity"},
	{identity.ErrKeyFilePermissions, "key-file-permissions"},
	{identity.ErrPassphraseNeeded, "passphrase-needed"},
	{identity.ErrUnprotected, "key-unprotected"},
	{identity.ErrWrongPassphrase, "wrong-passphrase"},
	{identity.ErrInvalidSignature, "invalid-signature"},
	{ErrSocketInUse, "socket-in-use"},
	{ErrSocketPath, "socket-path"},
	{wire.ErrBadAddress, "bad-address"},
	{syscall.EADDRINUSE, "address-in-use"},
	{store.ErrNoSpace, "no-space"},
	{store.ErrPoisoned, "store-failed"},
	{store.ErrCorrupt, "corrupt"},
	{store.ErrLocked, "data-locked"},
	{store.ErrFormat, "data-format"},
	{ErrNoToken, "no-token"},
	{ErrTokenUnknown, "token-unknown"},
	{ErrAPIExpired, "api-token-expired"},
	{ErrCode, "link-used"},
	{ErrSession, "no-session"},
	{ErrForeign, "foreign-request"},
	{ErrReadOnly, "read-only"},
	{ErrNotPassed, "not-passed"},
	{ErrScope, "scope-too-small"},
	{ErrNoSuchToken, "api-token-not-found"},
	{ErrNoApplication, "application-not-found"},
	{ErrApplicationChanged, "application-changed"},
	{ErrTooManyApplications, "too-many-applications"},
	{ErrTooManyTokens, "too-many-tokens"},
	{ErrKeyReused, "idempotency-key-reused"},
	{ErrKeyInUse, "idempotency-key-in-use"},
	{ErrKeyLarge, "idempotency-answer-lost"},
	{ErrOutcomeUnknown, "outcome-unknown"},
	{ErrSlowBody, "body-timeout"},
	{api.ErrBadRequest, "bad-request"},
	{ErrNoBackup, "nothing-to-back-up"},
	{store.ErrCheckpointing, "backup-running"},
	{backup.ErrNotFound, "backup-not-found"},
	{backup.ErrNotABackup, "not-a-backup"},
	{backup.ErrDamaged, "backup-damaged"},
	{backup.ErrManifest, "bad-manifest"},
	{backup.ErrVersion, "backup-version"},
	{backup.ErrCut, "backup-cut"},
	{backup.ErrWrongKey, "wrong-recipient"},
	{backup.ErrDenied, "store-denied"},
	{backup.ErrUnreachable, "store-unreachable"},
	{backup.ErrExists, "place-taken"},
	{ErrStateless, "stateless"},
	{ErrTooManyHops, "routing-loop"},
	{context.DeadlineExceeded, "timeout"},
	{fs.ErrPermission, "permission"},
	{fs.ErrNotExist, "file-not-found"},
	{syscall.EISDIR, "is-a-directory"},
	{syscall.ENOTDIR, "not-a-directory"},
	{fs.ErrExist, "file-exists"},
}

// Of makes a Problem of any error: that in its chain which a node answered, else one by the
// error's type, else by the table above; an unknown error is "internal".
func Of(err error) *api.Problem {
	var said *api.Problem
	if errors.As(err, &said) {
		return said
	}

	p := api.NewProblem(problemCode(err), err.Error())
	var fault *abi.Fault
	var refusal *abi.Refusal
	var failed *migration.Error
	var ambiguousGroup *AmbiguousGroupError
	switch {
	case errors.As(err, &fault):
		p.Fault = &api.Fault{Kind: string(fault.Kind), Call: fault.Call, Code: fault.Code, Limit: fault.Limit, Text: fault.Text, Stack: fault.Stack}
	case errors.As(err, &refusal):
		p.Refused, p.Detail, p.Hint = refusal.Code, refusal.Found, refusal.Mend
	case errors.As(err, &failed):
		p.Reason, p.Retriable = failed.Code.String(), failed.Code.Retriable() || failed.Code == migration.NotReadyTimeout
	case p.Code == "ambiguous" && errors.As(err, &ambiguousGroup):
		p.Hint = "look at each on its own node: wasmhost group inspect NAME --here; then remove one there: wasmhost group rm NAME --here"
	case p.Code == "unreachable" && errors.Is(err, client.ErrNoNode):
		p.Title, p.Hint = "No node answers", "start one with: wasmhost serve; or name its socket: --socket PATH or WASMHOST_SOCKET"
	}

	var none *placement.NoNodeError
	if errors.As(err, &none) {
		p.Nodes = VerdictsOf(none.Verdicts)
	}
	return p
}

// problemCode returns the problem code of an error: by its type, else by errorCodes.
func problemCode(err error) string {
	var fault *abi.Fault
	var refusal *abi.Refusal
	var failed *migration.Error
	var broken *chain.Error
	var ambiguous *daemon.AmbiguousError
	var ambiguousNode *wire.AmbiguousError
	var ambiguousGroup *AmbiguousGroupError
	var moved *daemon.MovedError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &fault):
		if fault.Kind == abi.FaultLimit {
			return "limit-exceeded"
		}
		return "guest-failed"
	case errors.As(err, &refusal):
		return "module-refused"
	case errors.As(err, &failed):
		return migrationCode(failed.Code)
	case errors.As(err, &broken):
		return "chain-broken"
	case errors.As(err, &ambiguousGroup), errors.As(err, &ambiguous), errors.As(err, &ambiguousNode):
		return "ambiguous"
	case errors.As(err, &moved):
		return "moved"
	case errors.As(err, &tooLarge):
		return "too-large"
	}

	for _, row := range errorCodes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return "internal"
}

// migrationCode returns the problem code of a migration's failure.
func migrationCode(c migration.Code) string {
	switch c {
	case migration.DaemonNotFound:
		return "daemon-not-found"
	case migration.AlreadyMigrating:
		return "already-migrating"
	case migration.NotPortable:
		return "not-portable"
	case migration.SourceUnavailable:
		return "unreachable"
	}
	return "migration-failed"
}

// Errors of requests.
var (
	ErrStateless   = errors.New("the daemon keeps no state")
	ErrTooManyHops = errors.New("the request passed through too many nodes")
)

// Write answers with the problem of err. It is the whole answer: nothing may have been
// written before.
func Write(w http.ResponseWriter, err error) {
	p := Of(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}
