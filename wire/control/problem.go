package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"wasmhost/abi"
	"wasmhost/host"
	"wasmhost/host/backup"
	"wasmhost/host/budget"
	"wasmhost/host/chain"
	"wasmhost/host/channel"
	"wasmhost/host/directory"
	"wasmhost/host/drain"
	"wasmhost/host/effect"
	"wasmhost/host/group"
	"wasmhost/host/mesh"
	"wasmhost/host/migration"
	"wasmhost/host/placement"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/wire"
)

// Problem is an error as it crosses the API (RFC 9457), and on the client the
// error itself.
type Problem struct {
	Type   string `json:"type"` // urn:wasmhost:error:<code>
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"` // stable
	Hint   string `json:"hint,omitempty"`

	Fault     *Fault `json:"fault,omitempty"`     // with guest-failed and limit-exceeded
	Reason    string `json:"reason,omitempty"`    // with migration-failed: a code of package migration
	Refused   string `json:"refused,omitempty"`   // with module-refused: a code of package abi
	Retriable bool   `json:"retriable,omitempty"` // the same again may succeed

	Nodes []Verdict `json:"nodes,omitempty"` // with no-node-fits: each, and why not
}

// Fault is a guest's failure.
type Fault struct {
	Kind  string `json:"kind"`
	Call  string `json:"call"`
	Code  int32  `json:"code"`
	Limit string `json:"limit,omitempty"`
	Text  string `json:"text"`
	Stack string `json:"stack,omitempty"`
}

func (p *Problem) Error() string { return p.Detail }

// Exit codes of the command line. UX names them.
const (
	ExitOK           = 0
	ExitFailure      = 1
	ExitUsage        = 2
	ExitNotFound     = 3
	ExitConflict     = 4
	ExitDenied       = 5
	ExitUnreachable  = 6
	ExitTimeout      = 7
	ExitNotConfirmed = 8
	ExitGuest        = 9
	ExitVerification = 10
	ExitMigration    = 11
	ExitIncomplete   = 12
	ExitInterrupted  = 130
)

// class is what a code means: to HTTP, to the command line, and to a person.
type class struct {
	code   string
	status int
	exit   int
	title  string
	hint   string
}

// rejoinHint is the way out for a node whose part in the directory cannot be used.
const rejoinHint = "on another node: wasmhost cluster remove THIS-NODE; then move cluster/ out of this node's data directory, and start it with serve --cluster --join TOKEN"

// classes is the one table of errors: the first row whose error matches.
var classes = []struct {
	err error
	class
}{
	{host.ErrUnconfirmed, class{"unconfirmed", 503, ExitUnreachable, "The node was restored from a backup", "see what it holds: wasmhost backup pending; decide: wasmhost backup confirm or give-way"}},
	{host.ErrTwin, class{"twin-runs", 409, ExitConflict, "Another incarnation of this node runs", "end that node first; or give up what this one has: wasmhost backup give-way"}},
	{host.ErrNotFound, class{"daemon-not-found", 404, ExitNotFound, "No such daemon", "list the daemons with: wasmhost ps --all"}},
	{host.ErrBadRef, class{"bad-reference", 400, ExitUsage, "Not a reference", "write a whole name, origin or entity id; name:NAME for a name that looks like an id"}},
	{host.ErrUnproven, class{"residence-unproven", 502, ExitUnreachable, "The node does not prove that it has the daemon", "nothing was sent there; a node of an older version cannot prove it, unless both are in one cluster; see wasmhost where"}},
	{host.ErrNotKept, class{"identity-not-kept", 404, ExitNotFound, "No such key", "give the data directory of the node that the daemon left with: wasmhost migrate --public-only"}},
	{errKindDiffers, class{"kind-differs", 409, ExitConflict, "The kind is not the same on all nodes", "push the one that is meant: wasmhost kind push NAME FILE --to all"}},
	{host.ErrKindNotFound, class{"kind-not-found", 404, ExitNotFound, "No such kind", "list the kinds with: wasmhost kind ls; add one with: wasmhost kind push NAME FILE"}},
	{mesh.ErrUnknownNode, class{"node-not-found", 404, ExitNotFound, "No such node", "list the nodes with: wasmhost node ls; join one with: wasmhost node token, and serve --join"}},
	{host.ErrNoCluster, class{"no-cluster", 409, ExitConflict, "The node is in no cluster", "start it with: wasmhost serve --cluster; or serve --etcd URL"}},
	{host.ErrHolding, class{"holding", 503, ExitUnreachable, "The node does not reach its cluster", "its daemons go on when it does, or where their standbys are: wasmhost cluster status"}},
	{host.ErrHeld, class{"held", 409, ExitConflict, "The daemon is held", "see why: wasmhost inspect DAEMON; let this copy go on: wasmhost recover DAEMON --confirm; or drop it for the one that has more: wasmhost recover DAEMON --yield"}},
	{host.ErrNotHeld, class{"not-held", 409, ExitConflict, "The daemon is not held", "nothing is to be decided: see wasmhost inspect"}},
	{host.ErrFurther, class{"proven-further", 409, ExitConflict, "Another node has more of the daemon", "drop this copy for that one: wasmhost recover DAEMON --yield; or stop that node first, and lose what it has beyond this copy"}},
	{host.ErrNoneFurther, class{"none-further", 409, ExitConflict, "No other node is known to have the daemon", "let this copy go on: wasmhost recover DAEMON --confirm"}},
	{host.ErrComing, class{"coming", 503, ExitUnreachable, "The daemon is on its way", "try again in a moment"}},
	{host.ErrBadStandbys, class{"bad-standbys", 400, ExitUsage, "Not a number of standbys", "give --standbys a number from 0 to 8"}},
	{directory.ErrBadAck, class{"bad-ack", 400, ExitUsage, "Not a way to acknowledge", "give --ack memory or --ack disk"}},
	{directory.ErrOlder, class{"directory-older", 409, ExitConflict, "An older copy of the directory", rejoinHint}},
	{directory.ErrDamaged, class{"directory-damaged", 500, ExitVerification, "The directory on this node is damaged", rejoinHint}},
	{host.ErrDirectoryHere, class{"directory-present", 409, ExitConflict, "The directory is there", "nothing is lost: see wasmhost cluster status"}},
	{host.ErrOtherEnd, class{"copy-changed", 409, ExitConflict, "The copy has changed", "run wasmhost cluster recover again"}},
	{errLost, class{"daemons-lost", 409, ExitIncomplete, "Daemons are lost", "a node that is only away enters its daemons when it is back"}},
	{errRecovering, class{"recovery-running", 409, ExitConflict, "A recovery runs already", "wait until it ends"}},
	{errNotEmbedded, class{"external-directory", 409, ExitConflict, "The directory is not the nodes' own", "restore the etcd from its own backup, then start the nodes as they were"}},
	{ErrOtherCluster, class{"other-cluster", 409, ExitConflict, "Another cluster", "give serve the --cluster-name that the cluster has, or another --data"}},
	{directory.ErrRemoved, class{"removed", 403, ExitDenied, "The node was removed from the cluster", "let it in with another token: wasmhost node token, and serve --cluster --join TOKEN"}},
	{directory.ErrVersion, class{"other-version", 409, ExitConflict, "Versions that do not speak", "upgrade the older node"}},
	{directory.ErrLate, class{"directory-late", 503, ExitUnreachable, "The cluster's directory does not answer in time", "look what became of it, then try again; if it stays so: wasmhost cluster status"}},
	{directory.ErrEngine, class{"directory-unreachable", 503, ExitUnreachable, "The cluster's directory does not answer", "see wasmhost cluster status; try again when a majority of its members is there"}},
	{directory.ErrBusy, class{"directory-busy", 429, ExitFailure, "Too many requests at the cluster's directory", "try again in a moment"}},
	{directory.ErrDenied, class{"directory-denied", 403, ExitDenied, "Denied", "ask on a node that has a vote: wasmhost cluster members"}},
	{errStillHere, class{"member-present", 409, ExitConflict, "The node is there", "stop it first; its daemons with standbys go on there"}},
	{host.ErrDraining, class{"draining", 409, ExitConflict, "The node is being drained", "ask another node, or take daemons here again: wasmhost node undrain"}},
	{host.ErrCompileBudget, class{"compile-budget", 422, ExitGuest, "The module takes too much to compile", "split its largest functions, or build it with less inlining; the node's owner can raise serve --compile-memory and --compile-time"}},
	{host.ErrCompileQueue, class{"compile-queue-full", 429, ExitFailure, "Too many modules wait to be compiled", "try again in a moment"}},
	{host.ErrModuleUnsigned, class{"module-unsigned", 403, ExitDenied, "The module is not signed", "sign it with a key that the node trusts (serve --kind-keys): wasmhost kind sign; then kind push --signature"}},
	{host.ErrBadSignature, class{"bad-signature", 422, ExitVerification, "Not a signature of the module", "sign the module as it is: wasmhost kind sign"}},
	{ErrNotEverywhere, class{"kind-not-everywhere", 409, ExitIncomplete, "Not every node has the kind", "mend the reasons, then push it again: the nodes that have it lose nothing"}},
	{ErrRollout, class{"upgrade-incomplete", 409, ExitIncomplete, "Not every daemon was upgraded", "mend the reasons, then give the command again: those that are done are passed over"}},
	{drain.ErrIncomplete, class{"drain-incomplete", 409, ExitIncomplete, "Not every daemon is gone", "mend the reasons, then drain again: wasmhost node drain; or take daemons here again: wasmhost node undrain"}},
	{errUneven, class{"node-draining", 409, ExitConflict, "The node is being drained", "let it take daemons again: wasmhost node undrain"}},
	{errDrainRunning, class{"drain-running", 409, ExitConflict, "The node is being drained already", "watch it: wasmhost node drain, without other flags; end it: wasmhost node undrain"}},
	{chain.ErrEquivocated, class{"equivocation", 409, ExitConflict, "The identity is refused", "see the proof: wasmhost chain accused; once it is certain which history counts: wasmhost chain pardon DAEMON"}},
	{host.ErrNotAccused, class{"not-accused", 404, ExitNotFound, "No proof is on record", "list them with: wasmhost chain accused"}},
	{host.ErrNoForkPoint, class{"no-fork-point", 404, ExitNotFound, "No such moment", "give --at the last output of an event: wasmhost chain show DAEMON"}},
	{host.ErrHistoryTrimmed, class{"history-trimmed", 404, ExitNotFound, "The history does not reach back so far", "fork it where its stored state stands, or later"}},
	{chain.ErrForkMismatch, class{"fork-mismatch", 422, ExitVerification, "The fork is not of that parent's chain", "export the parent's chain anew, whole, from where it is now; if it still differs, the fork did not begin there"}},
	{chain.ErrNotFork, class{"not-a-fork", 422, ExitVerification, "Not a fork", "the chain begins with no other daemon's state: see wasmhost chain verify, without --parent"}},
	{chain.ErrBadProof, class{"bad-proof", 422, ExitVerification, "The proof does not hold", "it proves nothing: make it again with wasmhost chain prove"}},
	{chain.ErrNoEquivocation, class{"no-equivocation", 422, ExitVerification, "No contradiction", "both can be true: nothing is to be done"}},
	{group.ErrNotFound, class{"group-not-found", 404, ExitNotFound, "No such group", "list the groups with: wasmhost group ls"}},
	{group.ErrExists, class{"group-exists", 409, ExitConflict, "The group exists", "choose another name, or change the size: wasmhost group scale"}},
	{group.ErrInvalid, class{"bad-group", 400, ExitUsage, "Not a valid group", "see wasmhost group create --help"}},
	{group.ErrUnknown, class{"member-not-found", 404, ExitNotFound, "No such member", "see wasmhost group inspect"}},
	{group.ErrMemberAlive, class{"member-alive", 409, ExitConflict, "The member is running", "only a member whose node is gone for good is lost: see wasmhost group inspect"}},
	{group.ErrLeased, class{"member-leased", 503, ExitUnreachable, "The member's node may still have it", "try again in some seconds: a standby may take it over meanwhile, and then nothing is lost"}},
	{group.ErrMemberGone, class{"binding-gone", 409, ExitConflict, "The member that had the event is gone", "what it was sent is not applied again: whether it was applied, that member alone knew; a new event needs a new id"}},
	{group.ErrTooManySenders, class{"group-senders-full", 429, ExitFailure, "The group remembers too many senders", "use one sender with rising numbers, such as --id import/1, --id import/2: each name is remembered for a day (limit sender-memory)"}},
	{group.ErrSenderQuota, class{"group-sender-quota", 429, ExitFailure, "Too many senders of one token or peer", "use one sender with rising numbers, such as --id import/1, --id import/2; a token or peer may use an eighth of what a group remembers"}},
	{group.ErrBusy, class{"member-busy", 503, ExitTimeout, "The member still has events under way", "nothing was ended: try again once they are answered"}},
	{errMemberAway, class{"member-away", 503, ExitUnreachable, "The member is not where it was", "send an event that has an id again: where the member is made anew it is refused by name; see wasmhost group inspect"}},
	{group.ErrNoHealthy, class{"no-healthy-member", 503, ExitUnreachable, "No member can take events", "see why: wasmhost group inspect; look again: wasmhost group heal"}},
	{errOtherEpoch, class{"other-epoch", 409, ExitConflict, "The daemon is under another epoch", "see wasmhost inspect"}},
	{placement.ErrNoNode, class{"no-node-fits", 404, ExitNotFound, "No node meets the requirements", "ask for less, or see what nodes announce: wasmhost node inspect NODE"}},
	{placement.ErrBadTag, class{"bad-tag", 400, ExitUsage, "Not a tag", "write KEY=VALUE, as in zone=a"}},
	{host.ErrModuleNotFound, class{"module-not-found", 404, ExitNotFound, "No such module", "push the module again with: wasmhost kind push NAME FILE"}},
	{host.ErrKindExists, class{"kind-exists", 409, ExitConflict, "The kind exists", "choose another name"}},
	{host.ErrKindInUse, class{"kind-in-use", 409, ExitConflict, "The kind is in use", "stop or migrate its daemons first: wasmhost ps"}},
	{host.ErrAlreadyPresent, class{"already-present", 409, ExitConflict, "The identity is taken", "one identity is one daemon: use another identity, or stop the daemon that has it"}},
	{host.ErrNameTaken, class{"name-taken", 409, ExitConflict, "The name is taken", "choose another --name"}},
	{host.ErrAlreadyMigrating, class{"already-migrating", 409, ExitConflict, "The daemon is migrating", "wait until it has moved: wasmhost inspect"}},
	{host.ErrIdentityMismatch, class{"identity-mismatch", 409, ExitConflict, "The snapshot is of another identity", "give the identity that the snapshot is of: wasmhost snapshot inspect FILE"}},
	{host.ErrUnfit, class{"limits-unfit", 400, ExitUsage, "Limits that do not fit one another", "set what the text names; wasmhost limits show has those that hold, docs/limits.md all bounds"}},
	{host.ErrBadLimit, class{"bad-limit", 400, ExitUsage, "Not a limit", "see wasmhost spawn --help for the limits and their units"}},
	{host.ErrSettled, class{"settled", 404, ExitNotFound, "Nothing is unsettled", "see wasmhost migrations ls"}},
	{host.ErrNotFailed, class{"not-failed", 409, ExitConflict, "The daemon is well", "only a failed or diverged daemon is brought back: see wasmhost inspect"}},
	{host.ErrCannotUpgrade, class{"cannot-upgrade", 409, ExitConflict, "The daemon cannot be upgraded", "it goes on with the code that it had; see wasmhost kind inspect"}},
	{host.ErrNotQuarantined, class{"not-quarantined", 404, ExitNotFound, "No such failed event", "list them with: wasmhost quarantine ls DAEMON"}},
	{host.ErrBadName, class{"bad-name", 400, ExitUsage, "Not a name", "use letters, digits, - _ and .; 16 or 64 hexadecimal digits are an id"}},
	{chain.ErrBadReceipt, class{"bad-receipt", 422, ExitVerification, "Not a valid receipt", "the file is damaged or was changed: save the receipt again"}},
	{chain.ErrNoReceipt, class{"no-receipt", 404, ExitNotFound, "No such receipt", "see wasmhost receipt ls"}},
	{host.ErrBadSnapshot, class{"bad-snapshot", 422, ExitVerification, "Not a valid snapshot", "the file is damaged or was changed: save the snapshot again"}},
	{host.ErrHalted, class{"daemon-stopped", 409, ExitConflict, "The daemon is stopped", "start it: wasmhost start DAEMON"}},
	{host.ErrManyReaders, class{"too-many-readers", 429, ExitFailure, "Too many callers look at the daemon", "wait until it is less busy, or end some of those that follow it"}},
	{ErrAnswerTooLarge, class{"answer-too-large", 502, ExitFailure, "The node's answer is too large", "ask for less at a time"}},
	{ErrBodiesFull, class{"bodies-full", 503, ExitFailure, "The node holds too many bytes of requests", "try again, with fewer or smaller requests at a time"}},
	{budget.ErrFull, class{"bytes-full", 503, ExitFailure, "A budget of bytes is used up", "try again, with fewer or smaller requests at a time"}},
	{host.ErrMailboxFull, class{"mailbox-full", 429, ExitFailure, "The mailbox is full", "send more slowly, or try again"}},
	{host.ErrSuperseded, class{"superseded", 409, ExitConflict, "The event is out of order", "a sender's numbers must grow: send it under a number above the last, or another --id"}},
	{host.ErrReused, class{"id-reused", 409, ExitConflict, "The id is another event's", "an --id stands for one event: give this one another"}},
	{host.ErrOtherModule, class{"other-module", 409, ExitConflict, "The saved daemon is of another module", "run the module that it was saved with, write the hooks, or begin anew with another --state file"}},
	{host.ErrBadTrial, class{"bad-state-file", 422, ExitFailure, "Not a saved daemon", "give --state a file that wasmhost run wrote, or one that is not there"}},
	{host.ErrConfigTooLarge, class{"config-too-large", 413, ExitUsage, "The configuration is too large", "pass what is large in events"}},
	{host.ErrStateTooLarge, class{"state-too-large", 409, ExitFailure, "The daemon's state is too large to save", "give it more: wasmhost limits set DAEMON state-bytes=SIZE"}},
	{host.ErrTooLarge, class{"too-large", 413, ExitFailure, "Too large", "split it"}},
	{host.ErrHorizonFull, class{"too-many-senders", 429, ExitFailure, "Too many senders", "use one sender with rising numbers, such as --id import/1, --id import/2: each name is remembered for a day (limits senders, sender-memory)"}},
	{host.ErrSenderQuota, class{"sender-quota", 429, ExitFailure, "Too many senders of one token or peer", "use one sender with rising numbers, such as --id import/1, --id import/2; a token or peer may use an eighth of the limit senders in a day"}},
	{host.ErrEventNumber, class{"bad-event-number", 400, ExitUsage, "Not a number of an event", "number the events of a sender from 1"}},
	{wire.ErrTooManySenders, class{"too-many-open", 429, ExitFailure, "Too many senders", "wait until others are answered, or send events with an --id"}},
	{host.ErrNotPortable, class{"not-portable", 409, ExitMigration, "The state cannot be captured", "a native daemon moves where its code implements Snapshot and Restore, and it is of a kind"}},
	{host.ErrDiverged, class{"diverged", 409, ExitVerification, "The replay diverged", "see wasmhost inspect, then choose how to bring it back: wasmhost recover --help"}},
	{host.ErrNoHistory, class{"no-history", 409, ExitFailure, "No history", "run the node with a store"}},
	{host.ErrNotReady, class{"not-ready", 503, ExitUnreachable, "Not ready", "try again in a moment"}},
	{host.ErrShuttingDown, class{"shutting-down", 503, ExitUnreachable, "Shutting down", "ask another node"}},
	{ErrNoNode, class{"unreachable", 502, ExitUnreachable, "No node answers", "start one with: wasmhost serve; or name its socket: --socket PATH or WASMHOST_SOCKET"}},
	{mesh.ErrUnreachable, class{"unreachable", 502, ExitUnreachable, "Cannot reach the node", "is the node running, and its UDP port open? wasmhost node ls"}},
	{host.ErrNotSupported, class{"not-supported", 501, ExitFailure, "Not supported", ""}},
	{wire.ErrDenied, class{"denied", 403, ExitDenied, "Denied", "ask on the node itself, or have its owner grant the right: wasmhost node trust grant NODE RIGHTS"}},
	{wire.ErrUntrusted, class{"untrusted", 403, ExitDenied, "Not trusted", "join it: wasmhost node token there, and wasmhost serve --join TOKEN here"}},
	{wire.ErrTokenRefused, class{"token-refused", 403, ExitDenied, "The token was refused", "a token is good once: ask for a new one with wasmhost node token"}},
	{wire.ErrTokenExpired, class{"token-expired", 403, ExitDenied, "The token has expired", "ask for a new one with wasmhost node token"}},
	{wire.ErrBadToken, class{"bad-token", 400, ExitUsage, "Not a token", "copy the whole token that wasmhost node token printed"}},
	{channel.ErrRemoved, class{"channel-removed", 410, ExitNotFound, "The channel was removed", "one that is made anew under the name is another channel: follow that with --after 0"}},
	{channel.ErrChanged, class{"channel-changed", 409, ExitConflict, "The cursor is of another channel", "the channel was removed and made anew: read all of it with --after 0, or what comes without --after"}},
	{channel.ErrBadCursor, class{"bad-cursor", 400, ExitUsage, "Not a cursor", "give a sequence, or a cursor as it was printed: see -o jsonl"}},
	{host.ErrCursorGone, class{"cursor-gone", 409, ExitConflict, "The cursor is of no output", "another daemon had the name, or the outputs were rolled back: read all with --after 0"}},
	{channel.ErrNoChannel, class{"channel-not-found", 404, ExitNotFound, "No such channel", "list a node's channels with: wasmhost channel ls; make one with: wasmhost channel create"}},
	{effect.ErrBadGrant, class{"bad-grant", 400, ExitUsage, "Not a grant", "write NODE/CHANNEL, NODE/PREFIX/* or NODE/* for --may-publish, and a daemon or * for --may-send"}},
	{channel.ErrExists, class{"channel-exists", 409, ExitConflict, "The channel exists", "choose another name, or remove it: wasmhost channel rm"}},
	{channel.ErrReserved, class{"channel-reserved", 400, ExitUsage, "The name is reserved", "choose a name that does not begin with out/"}},
	{channel.ErrTooMany, class{"too-many-channels", 429, ExitFailure, "Too many channels", "remove some: wasmhost channel rm"}},
	{channel.ErrNoToken, class{"token-needed", 403, ExitDenied, "The channel asks for a token", "give one: --token FILE; a root of the channel issues it with wasmhost token issue"}},
	{channel.ErrDenied, class{"channel-denied", 403, ExitDenied, "Denied", "have the channel's owner grant the right: wasmhost node trust grant NODE channels"}},
	{channel.ErrThrottled, class{"throttled", 429, ExitDenied, "Too many refused attempts", "wait half a minute, and give a token that is good"}},
	{channel.ErrResidence, class{"not-proven", 403, ExitDenied, "The daemon is not proven to be there", "subscribe it on the node that has its key: see wasmhost inspect"}},
	{channel.ErrSuperseded, class{"subscription-superseded", 409, ExitConflict, "The daemon is elsewhere", "ask the node that has it: wasmhost inspect"}},
	{channel.ErrNotMember, class{"not-subscribed", 409, ExitConflict, "Not subscribed", "subscribe the daemon: wasmhost subscribe"}},
	{channel.ErrPayload, class{"event-too-large", 413, ExitFailure, "The event is too large", "split it"}},
	{channel.ErrNotReady, class{"channel-not-ready", 503, ExitUnreachable, "Not ready", "try again in a moment"}},
	{channel.ErrOther, class{"channel-failed", 502, ExitFailure, "The channel's node failed", "see that node's log"}},
	{channel.ErrLedgerFull, class{"too-many-subscriptions", 429, ExitFailure, "Too many subscriptions", "end some: wasmhost unsubscribe"}},
	{host.ErrReserved, class{"sender-reserved", 403, ExitDenied, "The event cannot come under that name", "send it under another --id; channels, timers and daemons have ways of their own"}},
	{identity.ErrTokenFormat, class{"permission-malformed", 400, ExitUsage, "Not a permission token", "give what wasmhost token issue or delegate printed, whole"}},
	{identity.ErrTokenTrailing, class{"permission-trailing", 400, ExitUsage, "Not a permission token", "give what wasmhost token issue or delegate printed, and nothing more"}},
	{identity.ErrTokenZeroTTL, class{"permission-ttl", 400, ExitUsage, "Not a lifetime", "give a --ttl of at least a second"}},
	{identity.ErrTokenTTL, class{"permission-too-long", 400, ExitUsage, "Not a lifetime", "a token lives at most a year: give a shorter --ttl"}},
	{identity.ErrTokenLinks, class{"permission-links", 403, ExitDenied, "The token has too many links", "ask for one that was delegated less often"}},
	{identity.ErrTokenSignature, class{"permission-signature", 403, ExitDenied, "The token was changed or forged", "ask who issued it for another"}},
	{identity.ErrTokenNotYetValid, class{"permission-early", 403, ExitDenied, "The token is not valid yet", "wait, or set the clocks right: wasmhost token inspect"}},
	{identity.ErrTokenExpired, class{"permission-expired", 403, ExitDenied, "The token has expired", "ask who issued it for another: wasmhost token issue"}},
	{identity.ErrTokenRevoked, class{"permission-revoked", 403, ExitDenied, "The token was revoked", "ask who issued it for one of a later generation"}},
	{identity.ErrTokenRoot, class{"permission-root", 403, ExitDenied, "The token's issuer is no root of the channel", "see who its roots are: wasmhost channel inspect"}},
	{identity.ErrTokenSubject, class{"permission-subject", 403, ExitDenied, "The token is for somebody else", "ask for one whose subject is the daemon or node that uses it"}},
	{identity.ErrTokenScope, class{"permission-scope", 403, ExitDenied, "The token does not permit that", "see what it permits: wasmhost token inspect"}},
	{identity.ErrTokenChannel, class{"permission-channel", 403, ExitDenied, "The token is for another channel", "see which: wasmhost token inspect"}},
	{identity.ErrTokenSigner, class{"permission-signer", 403, ExitDenied, "The token's links do not join", "ask who delegated it for another"}},
	{identity.ErrTokenBroader, class{"permission-broader", 403, ExitDenied, "A delegated token grants too much", "delegate what the token permits, or less: wasmhost token inspect"}},
	{identity.ErrDelegationExhausted, class{"permission-depth", 403, ExitDenied, "The token cannot be delegated further", "ask for one with a greater --depth"}},
	{identity.ErrDelegationNotAllowed, class{"permission-delegate", 403, ExitDenied, "The token cannot be delegated", "ask for one with the scope delegate"}},
	{identity.ErrNotTokenSubject, class{"permission-delegator", 403, ExitDenied, "The token is not yours to delegate", "give the key of its subject: --identity FILE"}},
	{identity.ErrTooManyRevocations, class{"too-many-revocations", 429, ExitFailure, "Too many revocations", "restart the node with a fresh data directory, or use fewer issuers"}},
	{identity.ErrBadChannel, class{"bad-channel", 400, ExitUsage, "Not a channel name", "use segments of a-z 0-9 - _ . with / between them"}},
	{identity.ErrReadOnly, class{"no-private-key", 409, ExitConflict, "No private key", "give the identity: --identity FILE"}},
	{identity.ErrMalformed, class{"malformed-identity", 400, ExitUsage, "Not an identity", "give a key file made by wasmhost identity new"}},
	{identity.ErrKeyFilePermissions, class{"key-file-permissions", 403, ExitDenied, "The key file is open to others", "chmod 600 the file"}},
	{identity.ErrPassphraseNeeded, class{"passphrase-needed", 403, ExitDenied, "A passphrase is needed", "give --passphrase-file FILE"}},
	{identity.ErrUnprotected, class{"key-unprotected", 403, ExitDenied, "The key file has no passphrase", "set one: wasmhost identity protect FILE --new-passphrase-file PASS"}},
	{identity.ErrWrongPassphrase, class{"wrong-passphrase", 403, ExitDenied, "Wrong passphrase", "check the passphrase file"}},
	{identity.ErrInvalidSignature, class{"invalid-signature", 422, ExitVerification, "A signature does not verify", "the file was changed, or is of another identity"}},
	{ErrSocketInUse, class{"socket-in-use", 409, ExitConflict, "The control socket is in use", "another node listens there: stop that one, or give another --socket"}},
	{ErrSocketPath, class{"socket-path", 400, ExitUsage, "Not a path for a socket", "give a shorter --socket"}},
	{wire.ErrBadAddress, class{"bad-address", 400, ExitUsage, "Not an address to listen on", "give --listen HOST:PORT of this machine; port 0 is any"}},
	{syscall.EADDRINUSE, class{"address-in-use", 409, ExitConflict, "The address is in use", "another program listens there: stop that one, or give another --listen"}},
	{store.ErrNoSpace, class{"no-space", 507, ExitFailure, "The disk is full", "free space in the node's data directory, or stop daemons: the node then goes on by itself, and nothing acknowledged is lost"}},
	{store.ErrPoisoned, class{"store-failed", 507, ExitFailure, "The disk refused to write", "see the node's log; mend the disk, then restart the node: nothing acknowledged is lost"}},
	{store.ErrCorrupt, class{"corrupt", 500, ExitFailure, "Damaged data", "restore the data directory from a backup"}},
	{store.ErrLocked, class{"data-locked", 409, ExitConflict, "The data directory is in use", "another wasmhost serves it: stop that one, or give another --data"}},
	{store.ErrFormat, class{"data-format", 409, ExitFailure, "Unknown data format", "use the wasmhost that wrote it"}},
	{ErrNoToken, class{"no-token", 401, ExitDenied, "No token", "give one: --token-file FILE, or the header Authorization: Bearer TOKEN; the node's owner issues them: wasmhost api token issue"}},
	{ErrTokenUnknown, class{"token-unknown", 401, ExitDenied, "The token is not known", "it was revoked, or is another node's: ask the node's owner for one: wasmhost api token issue"}},
	{ErrAPIExpired, class{"api-token-expired", 401, ExitDenied, "The token has expired", "ask the node's owner for a new one: wasmhost api token issue"}},
	{ErrCode, class{"link-used", 401, ExitDenied, "The link is not good", "take the latest that wasmhost dashboard printed, whole"}},
	{ErrSession, class{"no-session", 401, ExitDenied, "No session", "open the latest link that wasmhost dashboard printed"}},
	{ErrForeign, class{"foreign-request", 403, ExitDenied, "Another page's request", "open the address that wasmhost dashboard printed, as it stands there"}},
	{ErrReadOnly, class{"read-only", 403, ExitDenied, "To look only", "start wasmhost dashboard without --read-only"}},
	{ErrNotPassed, class{"not-passed", 403, ExitDenied, "Not let through", "ask the node itself, with --socket or --url"}},
	{ErrScope, class{"scope-too-small", 403, ExitDenied, "The token's scope is too small", "ask the node's owner for one of a wider scope: wasmhost api token issue --scope"}},
	{ErrNoSuchToken, class{"api-token-not-found", 404, ExitNotFound, "No such token", "list them with: wasmhost api token ls"}},
	{ErrTooManyTokens, class{"too-many-tokens", 409, ExitConflict, "Too many tokens", "revoke some: wasmhost api token revoke ID"}},
	{ErrKeyReused, class{"idempotency-key-reused", 422, ExitConflict, "The key is another request's", "give each request an idempotency key of its own"}},
	{ErrKeyInUse, class{"idempotency-key-in-use", 409, ExitConflict, "The request is being answered", "try again in a moment"}},
	{ErrKeyLarge, class{"idempotency-answer-lost", 409, ExitConflict, "The answer was not kept", "the request was carried out: ask for what it made"}},
	{ErrOutcomeUnknown, class{"outcome-unknown", 504, ExitTimeout, "The outcome is not known", "an event that has an id can be sent again under it; else look what became of the request before it is put again"}},
	{ErrSlowBody, class{"body-timeout", 408, ExitTimeout, "The body did not come in time", "send it faster: 4 KiB a second at least; a stream of events may rest for an hour"}},
	{errBadRequest, class{"bad-request", 400, ExitUsage, "Bad request", ""}},
	{errNoBackup, class{"nothing-to-back-up", 409, ExitConflict, "The node keeps nothing on disk", "serve without --ephemeral"}},
	{store.ErrCheckpointing, class{"backup-running", 409, ExitConflict, "A backup of the node is being made", "wait until it has ended"}},
	{backup.ErrNotFound, class{"backup-not-found", 404, ExitNotFound, "No such backup", "list them with: wasmhost backup ls PLACE"}},
	{backup.ErrNotABackup, class{"not-a-backup", 422, ExitUsage, "Not a place of backups", "give a directory, file or s3://BUCKET/PREFIX that wasmhost backup create wrote, or a new one"}},
	{backup.ErrDamaged, class{"backup-damaged", 422, ExitVerification, "The backup is damaged", "take an earlier one: wasmhost backup ls PLACE; make a new one while the node is there"}},
	{backup.ErrManifest, class{"bad-manifest", 422, ExitVerification, "Not a manifest of a backup", "the file was changed: take another backup"}},
	{backup.ErrVersion, class{"backup-version", 409, ExitFailure, "Unknown version of backups", "use the wasmhost that wrote it"}},
	{backup.ErrCut, class{"backup-cut", 502, ExitUnreachable, "The node's answer ended early", "see the node's log, and make the backup again; no half backup is left"}},
	{backup.ErrWrongKey, class{"wrong-recipient", 403, ExitDenied, "The backup is sealed for another key", "give --identity FILE with the key of the recipient that wasmhost backup ls names, or --passphrase-file"}},
	{backup.ErrDenied, class{"store-denied", 403, ExitDenied, "The store of backups refuses", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do in the bucket"}},
	{backup.ErrUnreachable, class{"store-unreachable", 502, ExitUnreachable, "The store of backups cannot be reached", "check --s3-endpoint"}},
	{backup.ErrExists, class{"place-taken", 409, ExitConflict, "There is something already", "choose another name, or a directory for several backups"}},
	{errStateless, class{"stateless", 409, ExitFailure, "The daemon keeps no state", "there is nothing to save: spawn it anew where you need it"}},
	{errTooManyHops, class{"routing-loop", 502, ExitUnreachable, "The nodes pass the request round", "try again in a moment"}},
	{context.DeadlineExceeded, class{"timeout", 504, ExitTimeout, "Timed out", "try again, or allow more time"}},
	{fs.ErrPermission, class{"permission", 403, ExitDenied, "Permission denied", "check the owner and mode of the file"}},
	{fs.ErrNotExist, class{"file-not-found", 404, ExitNotFound, "No such file", "check the path"}},
	{syscall.EISDIR, class{"is-a-directory", 400, ExitUsage, "A directory", "name a file"}},
	{syscall.ENOTDIR, class{"not-a-directory", 400, ExitUsage, "Not a directory", "check the path"}},
	{fs.ErrExist, class{"file-exists", 409, ExitConflict, "The file exists", "remove it, or choose another"}},
}

// Classes that have a type of their own.
var (
	classGuest     = class{"guest-failed", 422, ExitGuest, "The guest failed", "the event left no trace; the daemon's log says more: wasmhost logs"}
	classLimit     = class{"limit-exceeded", 422, ExitGuest, "The guest went over a limit", "the event left no trace; send less at a time, or mend the guest"}
	classRefused   = class{"module-refused", 422, ExitFailure, "The module was refused", ""}
	classMigration = class{"migration-failed", 409, ExitMigration, "The migration failed", "the source still serves the daemon; mend the reason, then migrate again"}
	classAmbiguous = class{"ambiguous", 409, ExitUsage, "The name is ambiguous", "give more digits, or the full name"}
	classMoved     = class{"moved", 421, ExitConflict, "The daemon moved", "ask the node that it moved to"}
	classChain     = class{"chain-broken", 422, ExitVerification, "The chain does not hold", "the file was changed or cut: export the chain again"}
	classInternal  = class{"internal", 500, ExitFailure, "Internal error", "see the node's log"}
)

// NewProblem makes a Problem of any error.
func NewProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	p = &Problem{Detail: err.Error()}
	var fault *abi.Fault
	var refusal *abi.Refusal
	var failed *migration.Error
	var ambiguous *host.AmbiguousError
	var ambiguousNode *wire.AmbiguousError
	var ambiguousGroup *AmbiguousGroupError
	var moved *host.MovedError
	var chain *chain.Error
	var tooLarge *http.MaxBytesError
	var none *placement.NoNodeError
	if errors.As(err, &none) {
		p.Nodes = verdictsOf(none.Verdicts)
	}
	switch {
	case errors.As(err, &fault):
		p.Fault = &Fault{Kind: string(fault.Kind), Call: fault.Call, Code: fault.Code, Limit: fault.Limit, Text: fault.Text, Stack: fault.Stack}
		if fault.Kind == abi.FaultLimit {
			return p.fill(classLimit)
		}
		return p.fill(classGuest)
	case errors.As(err, &refusal):
		p.Refused = refusal.Code
		p.Detail = refusal.Found
		p.fill(classRefused).Hint = refusal.Mend
		return p
	case errors.As(err, &failed):
		p.Reason, p.Retriable = failed.Code.String(), failed.Code.Retriable() || failed.Code == migration.NotReadyTimeout
		return p.fill(migrationClass(failed.Code))
	case errors.As(err, &chain):
		return p.fill(classChain)
	case errors.As(err, &ambiguousGroup):
		p.Hint = "look at each on its own node: wasmhost group inspect NAME --here; then remove one there: wasmhost group rm NAME --here"
		return p.fill(classAmbiguous)
	case errors.As(err, &ambiguous), errors.As(err, &ambiguousNode):
		return p.fill(classAmbiguous)
	case errors.As(err, &moved):
		return p.fill(classMoved)
	case errors.As(err, &tooLarge):
		return p.fill(classOf("too-large"))
	}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return p.fill(c.class)
		}
	}
	return p.fill(classInternal)
}

func migrationClass(c migration.Code) class {
	switch c {
	case migration.DaemonNotFound:
		return classOf("daemon-not-found")
	case migration.AlreadyMigrating:
		return classOf("already-migrating")
	case migration.NotPortable:
		return classOf("not-portable")
	case migration.SourceUnavailable:
		return classOf("unreachable")
	}
	return classMigration
}

func classOf(code string) class {
	for _, c := range classes {
		if c.code == code {
			return c.class
		}
	}
	return classInternal
}

func (p *Problem) fill(c class) *Problem {
	p.Type, p.Title, p.Status, p.Code = "urn:wasmhost:error:"+c.code, c.title, c.status, c.code
	if p.Hint == "" {
		p.Hint = c.hint
	}
	return p
}

// Exit returns the command line's exit code for the problem.
func (p *Problem) Exit() int {
	for _, c := range []class{classGuest, classLimit, classRefused, classMigration, classAmbiguous, classMoved, classChain, classInternal} {
		if c.code == p.Code {
			return c.exit
		}
	}
	for _, c := range classes {
		if c.code == p.Code {
			return c.exit
		}
	}
	return ExitFailure
}

// Errors of requests.
var (
	errBadRequest  = errors.New("bad request")
	errStateless   = errors.New("the daemon keeps no state")
	errTooManyHops = errors.New("the request passed through too many nodes")
)

func writeProblem(w http.ResponseWriter, err error) {
	p := NewProblem(err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone if this fails
}
