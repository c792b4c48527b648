package server

import (
	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
)

// operation is what the API's document says of a route, and what a token needs
// for it.
type operation struct {
	summary string
	scope   api.Scope // 0: ScopeOwner
	query   []query.Parameter
	body    any    // of which type the JSON body is; nil: none, or bytes
	bytes   string // media type of a body that is bytes
	limit   int64  // of the body; 0: maxJSON
	answer  any    // of which type the JSON answer is; nil: none, or binary
	lines   any    // of which type the values of a streamed answer are
	binary  string // media type of an answer that is bytes
	event   bool   // it delivers events
	stream  bool   // the body is a stream without a bound; its frames have one
}

func (o operation) bodyLimit() int64 {
	if o.limit > 0 {
		return o.limit
	}
	return api.MaxJSON
}

// follows reports whether the operation tells what happens until its client leaves.
func (o operation) follows() bool {
	return o.lines != nil && o.answer == nil && o.body == nil && o.bytes == ""
}

var (
	atNode   = []query.Parameter{{Name: "node", Is: "string", What: "The node that has the channel; absent: this one."}}
	groupKey = query.Parameter{Name: "key", Is: "string", What: "To a group: by which its member is chosen."}
	paging   = []query.Parameter{{Name: "limit", Is: "integer", What: "At most so many entries, up to 1000; the Link header names the next page."}, {Name: "after", Is: "string", What: "Where the page begins: from the Link header.", Empty: true}}
)

func pagedWith(more ...query.Parameter) []query.Parameter { return append(more, paging...) }

// operations are those of the API, by the pattern of their route.
var operations = map[string]operation{
	"GET /v1/openapi.json": {summary: "This document.", scope: api.ScopeRead, binary: "application/json"},
	"GET /v1/happenings":   {summary: "What happens on this node from now on.", scope: api.ScopeRead, lines: api.Happening{}, query: []query.Parameter{{Name: "all", Is: "boolean", What: "On the nodes that it trusts too."}}},

	"GET /v1/node":                  {summary: "The node itself, with what it announces.", scope: api.ScopeRead, answer: api.Node{}, query: []query.Parameter{{Name: "kind", Is: "string", What: "Of which its daemons are counted, as alike.", Empty: true}}},
	"GET /v1/nodes":                 {summary: "The node and the nodes that it trusts.", scope: api.ScopeRead, answer: []api.Node{}, query: paging},
	"GET /v1/nodes/{node}":          {summary: "One node, with what it announces.", scope: api.ScopeRead, answer: api.Node{}, query: []query.Parameter{web.ByPrefix}},
	"POST /v1/nodes/{node}/drain":   {summary: "Move every daemon of a node to others.", scope: api.ScopeOperate, body: api.Drain{}, lines: api.DrainStep{}},
	"DELETE /v1/nodes/{node}/drain": {summary: "End a drain: the node takes daemons again.", scope: api.ScopeOperate, answer: api.Node{}},
	"POST /v1/token": {summary: "Issue a token by which another node joins this one.", answer: api.Token{},
		query: []query.Parameter{{Name: "ttl", Is: "string", What: "How long it is good, such as 1h; absent: an hour."}, {Name: "rights", Is: "string", What: "Needed: none, or some of all,read,operate,migrate,channels,kinds,join; all is every one but join."}}},
	"POST /v1/join": {summary: "Join the node that issued a token.", body: api.Token{}, answer: api.Node{},
		query: []query.Parameter{{Name: "rights", Is: "string", What: "What that node may do here: none, or some of all,read,operate,migrate,channels,kinds; absent: all."}}},
	"PUT /v1/trust/{node}":    {summary: "Set what a trusted node may do.", answer: api.Node{}, query: []query.Parameter{{Name: "rights", Is: "string", What: "Needed: none, or some of all,read,operate,migrate,channels,kinds,join; all is every one but join."}}},
	"DELETE /v1/trust/{node}": {summary: "Trust a node no more.", answer: api.Node{}},

	"GET /v1/cluster":                       {summary: "How the node's cluster stands.", scope: api.ScopeRead, answer: api.ClusterStatus{}},
	"POST /v1/cluster/members":              {summary: "Come to the node's cluster: asked by nodes alone.", body: api.Admission{}, answer: api.Admitted{}},
	"DELETE /v1/cluster/members/{node}":     {summary: "Forget a node of the cluster that is gone for good.", answer: api.ClusterMember{}},
	"POST /v1/cluster/recovery":             {summary: "Begin a new directory in place of one that is lost for good, with the longest provable copy of each daemon.", body: api.RecoveryRequest{}, answer: api.Recovery{}},
	"GET /v1/cluster/copies":                {summary: "What the node itself has of its cluster's daemons.", scope: api.ScopeRead, answer: []api.Copy{}, query: paging},
	"GET /v1/cluster/copies/{entity}/chain": {summary: "The chain of what the node itself has of a daemon, sealed by the daemon's key.", scope: api.ScopeRead, binary: "application/octet-stream"},
	"GET /v1/cluster/known":                 {summary: "What the node remembers that the directory said of daemons.", scope: api.ScopeRead, answer: []api.KnownDaemon{}, query: paging},
	"POST /v1/cluster/promotions":           {summary: "Make the node's copy of a daemon the daemon, while there is no directory: asked by nodes alone.", body: api.Promotion{}, answer: api.Promotion{}},
	"PUT /v1/cluster/directory":             {summary: "Come to the new directory of the node that asks: asked by nodes alone.", body: api.ToDirectory{}, answer: api.ToDirectory{}},

	"GET /v1/groups":                {summary: "The groups that the node keeps.", scope: api.ScopeRead, answer: []api.Group{}, query: pagedWith(query.Parameter{Name: "all", Is: "boolean", What: "Those of its peers too."})},
	"POST /v1/groups":               {summary: "Make a group of daemons of one kind.", body: api.CreateGroup{}, answer: api.Group{}},
	"GET /v1/groups/{group}":        {summary: "One group, wherever it is kept.", scope: api.ScopeRead, answer: api.Group{}, query: []query.Parameter{{Name: "local", Is: "boolean", What: "Ask no other node."}}},
	"DELETE /v1/groups/{group}":     {summary: "Stop a group's members, and forget it.", scope: api.ScopeOperate, answer: api.Group{}, query: []query.Parameter{{Name: "local", Is: "boolean", What: "The one that this node keeps, though others keep one of the name."}}},
	"POST /v1/groups/{group}/scale": {summary: "Make or stop members, until there are so many.", scope: api.ScopeOperate, body: api.ScaleGroup{}, answer: api.Group{}},
	"POST /v1/groups/{group}/heal":  {summary: "Look at the members, and make those anew that are lost.", scope: api.ScopeOperate, body: api.HealGroup{}, answer: api.Group{}},
	"GET /v1/sightings/{entity}":    {summary: "What this node alone knows of a daemon.", scope: api.ScopeRead, answer: api.Sighting{}},

	"GET /v1/kinds":        {summary: "The kinds.", scope: api.ScopeRead, answer: []api.Kind{}, query: paging},
	"GET /v1/kinds/{kind}": {summary: "One kind, with the report on its module.", scope: api.ScopeRead, answer: api.Kind{}},
	"PUT /v1/kinds/{kind}": {summary: "Make a module a kind. Headers Wasmhost-Signature may hold signatures of it.", bytes: "application/wasm", limit: maxModule, answer: api.Kind{},
		query: []query.Parameter{{Name: "limit", Is: "string", What: "NAME=VALUE, a limit of the kind's daemons; may stand several times.", Many: true}, {Name: "to", Is: "string", What: "A node that is to have it as well, or all; may stand several times.", Many: true}}},
	"DELETE /v1/kinds/{kind}":     {summary: "Forget a kind that has no daemons.", answer: api.Kind{}},
	"GET /v1/limits":              {summary: "The limits of daemons that have no others.", scope: api.ScopeRead, answer: api.NodeLimits{}},
	"GET /v1/kinds/{kind}/limits": {summary: "What bounds daemons of a kind.", scope: api.ScopeRead, answer: api.KindLimits{}},
	"PUT /v1/kinds/{kind}/limits": {summary: "Set limits of a kind, and of those of its daemons on this node that had the kind's.", body: api.SetLimits{}, answer: api.KindLimits{}},
	"GET /v1/kinds/{kind}/module": {summary: "A kind's module.", scope: api.ScopeRead, binary: "application/wasm",
		query: []query.Parameter{{Name: "digest", Is: "string", What: "Another module that the node has, such as the kind's before; in hexadecimal."}}},

	"GET /v1/daemons":  {summary: "The daemons of this node.", scope: api.ScopeRead, answer: []api.Daemon{}, lines: api.Daemon{}, query: pagedWith(query.Parameter{Name: "all", Is: "boolean", What: "Those of its peers too, and those that left."})},
	"POST /v1/daemons": {summary: "Spawn a daemon.", body: api.Spawn{}, answer: api.Daemon{}},
	"GET /v1/top": {summary: "The daemons of this node that use most, over an interval.", scope: api.ScopeRead, answer: api.Busiest{},
		query: []query.Parameter{{Name: "interval", Is: "string", What: "How long to look; 1s unless it is said, at most 1m."}, {Name: "daemons", Is: "integer", What: "How many daemons at most; 20 unless it is said."}}},
	"GET /v1/held":                 {summary: "The daemons of this node that are held, and why.", scope: api.ScopeRead, answer: []api.Held{}, query: paging},
	"POST /v1/rebalance":           {summary: "Move one daemon to a node that has clearly less, or say which would move.", scope: api.ScopeOperate, body: api.Rebalance{}, answer: api.Rebalanced{}},
	"POST /v1/place":               {summary: "Where a daemon of a kind would be made, and why; none is.", scope: api.ScopeRead, body: api.PlaceKind{}, answer: api.Placed{}},
	"GET /v1/incarnation":          {summary: "Which life of the node this is: how often it was restored from a backup, and whether that is confirmed.", scope: api.ScopeRead, answer: api.Incarnation{}},
	"POST /v1/incarnation/confirm": {summary: "Confirm a node that was restored, once none of its daemons is held as unconfirmed: its channels are open again.", answer: api.Incarnation{}},
	"POST /v1/backup":              {summary: "The node's data directory as it is at one moment, while the node goes on: a tar stream that ends with the signed manifest.", body: api.Backup{}, limit: maxBackup, binary: "application/x-tar"},
	"POST /v1/snapshots": {summary: "Make a daemon of a snapshot. The header Wasmhost-Identity may hold the seed of its identity, in hexadecimal.",
		bytes: "application/cbor", limit: maxSnapshot, answer: api.Daemon{}, query: []query.Parameter{{Name: "kind", Is: "string", What: "Another kind than the snapshot's."}, {Name: "name", Is: "string", What: "Another name."},
			{Name: "unsigned", Is: "boolean", What: "Take a snapshot that its daemon has not signed; the caller answers for what is in it."}}},
	"GET /v1/daemons/{ref}":    {summary: "One daemon, wherever it is.", scope: api.ScopeRead, answer: api.Daemon{}, query: []query.Parameter{web.ByPrefix, {Name: "local", Is: "boolean", What: "Ask no other node."}}},
	"DELETE /v1/daemons/{ref}": {summary: "Remove a daemon: state, history and key are gone.", scope: api.ScopeOperate, answer: api.Daemon{}, query: []query.Parameter{{Name: "epoch", Is: "integer", What: "Only where it is under this epoch."}}},
	"POST /v1/daemons/{ref}/events": {summary: "Deliver the body as one event, and answer once it is durable. A ref that is group/NAME, escaped, is to a member of the group.", scope: api.ScopeSend, bytes: "application/octet-stream", limit: api.MaxEvent, answer: api.Sent{},
		event: true, query: []query.Parameter{{Name: "id", Is: "string", What: "SENDER/NUMBER: the event is applied once, however often it is sent."}, groupKey}},
	"POST /v1/daemons/{ref}/stream": {summary: "Deliver a stream of events: frames of four bytes of length, big-endian, and the event.", scope: api.ScopeSend,
		bytes: "application/octet-stream", lines: api.Sent{}, event: true, stream: true, query: []query.Parameter{{Name: "id", Is: "string", What: "SENDER/NUMBER of the first event."}, groupKey}},
	"GET /v1/daemons/{ref}/logs":                      {summary: "The kept lines of a daemon's log.", scope: api.ScopeRead, lines: api.LogLine{}, query: []query.Parameter{web.ByPrefix, {Name: "follow", Is: "boolean", What: "And those that come."}}},
	"GET /v1/daemons/{ref}/tail":                      {summary: "A daemon's outputs from now on, each once it is durable.", scope: api.ScopeRead, lines: api.Output{}, query: []query.Parameter{web.ByPrefix, {Name: "after", Is: "string", What: "From the output after this one on: ORIGIN:SEQUENCE, or a sequence of the daemon that has the name; the header Last-Event-ID says the same."}}},
	"GET /v1/daemons/{ref}/snapshot":                  {summary: "A daemon's snapshot.", scope: api.ScopeRead, binary: "application/cbor", query: []query.Parameter{web.ByPrefix}},
	"GET /v1/daemons/{ref}/chain":                     {summary: "A daemon's chain, as a file that can be verified offline.", scope: api.ScopeRead, binary: "application/octet-stream", query: []query.Parameter{web.ByPrefix}},
	"GET /v1/daemons/{ref}/receipts":                  {summary: "The receipts of a daemon's moves.", scope: api.ScopeRead, answer: []api.Receipt{}, query: pagedWith(web.ByPrefix)},
	"GET /v1/daemons/{ref}/receipts/{epoch}":          {summary: "One receipt, as it was signed.", scope: api.ScopeRead, binary: "application/cbor", query: []query.Parameter{web.ByPrefix}},
	"POST /v1/daemons/{ref}/stop":                     {summary: "Stop a daemon until it is started: events are refused, and its timers and what it sends wait.", scope: api.ScopeOperate, answer: api.Daemon{}},
	"POST /v1/daemons/{ref}/start":                    {summary: "Start a daemon that was stopped.", scope: api.ScopeOperate, answer: api.Daemon{}},
	"POST /v1/daemons/{ref}/mend":                     {summary: "Bring back a daemon that cannot go on.", scope: api.ScopeOperate, body: api.Mend{}, answer: api.Mended{}},
	"POST /v1/daemons/{ref}/confirm":                  {summary: "End a hold: the copy of the daemon on this node goes on, under a higher epoch.", scope: api.ScopeOperate, answer: api.Mended{}},
	"POST /v1/daemons/{ref}/yield":                    {summary: "End a hold: the copy of the daemon on this node is dropped for the one that has more.", scope: api.ScopeOperate, answer: api.Mended{}},
	"POST /v1/daemons/{ref}/upgrade":                  {summary: "Give a daemon another version of its code.", scope: api.ScopeOperate, body: api.Upgrade{}, answer: api.Daemon{}},
	"POST /v1/upgrades":                               {summary: "Give all daemons of a kind, or of a group, on all nodes, another version of their code, several at a time.", scope: api.ScopeOperate, body: api.Rollout{}, lines: api.RolloutStep{}},
	"GET /v1/daemons/{ref}/limits":                    {summary: "What bounds a daemon.", scope: api.ScopeRead, answer: api.DaemonLimits{}, query: []query.Parameter{web.ByPrefix}},
	"PUT /v1/daemons/{ref}/limits":                    {summary: "Set limits of a daemon, while it runs.", scope: api.ScopeOperate, body: api.SetLimits{}, answer: api.DaemonLimits{}},
	"POST /v1/daemons/{ref}/fork":                     {summary: "Make daemons that begin with the state of this one.", scope: api.ScopeOperate, body: api.Fork{}, answer: []api.Daemon{}},
	"GET /v1/daemons/{ref}/quarantine":                {summary: "Events that a daemon failed on.", scope: api.ScopeRead, answer: []api.Quarantined{}, query: pagedWith(web.ByPrefix)},
	"POST /v1/daemons/{ref}/quarantine/{index}/retry": {summary: "Have a daemon process a failed event again.", scope: api.ScopeOperate, answer: api.Sent{}},
	"DELETE /v1/daemons/{ref}/quarantine/{index}":     {summary: "Settle a failed event without trying it again.", scope: api.ScopeOperate},
	"POST /v1/daemons/{ref}/place":                    {summary: "Pick a node for a daemon.", scope: api.ScopeOperate, body: api.Place{}, answer: api.Placed{}},
	"POST /v1/daemons/{ref}/migrate":                  {summary: "Move a daemon to another node.", scope: api.ScopeOperate, body: api.Migrate{}, lines: api.MigrationStep{}},

	"GET /v1/channels":              {summary: "The channels.", scope: api.ScopeRead, query: pagedWith(atNode...), answer: []api.Channel{}},
	"POST /v1/channels":             {summary: "Make a channel.", body: api.CreateChannel{}, answer: api.Channel{}},
	"GET /v1/channels/{channel}":    {summary: "One channel.", scope: api.ScopeRead, query: atNode, answer: api.Channel{}},
	"DELETE /v1/channels/{channel}": {summary: "Take a channel away.", query: atNode, answer: api.Channel{}},
	"POST /v1/channels/{channel}/publish": {summary: "Publish a stream of events: frames of four bytes of length, big-endian, and the event.", scope: api.ScopeSend,
		bytes: "application/octet-stream", lines: api.Published{}, event: true, stream: true, query: atNode},
	"GET /v1/channels/{channel}/events":    {summary: "Follow a channel from now on.", scope: api.ScopeRead, lines: api.ChannelEvent{}, query: []query.Parameter{atNode[0], {Name: "after", Is: "string", What: "From the event after this cursor on: BIRTH:SEQUENCE as an event or the channel says it, or a sequence of the channel that there is; the header Last-Event-ID says the same."}}},
	"GET /v1/revocations":                  {summary: "Revocations of channel permissions.", scope: api.ScopeRead, answer: []api.Revocation{}, query: paging},
	"POST /v1/revocations":                 {summary: "Revoke permissions to channels.", body: api.Revocation{}, answer: api.Revocation{}},
	"GET /v1/daemons/{ref}/subscriptions":  {summary: "What a daemon is subscribed to.", scope: api.ScopeRead, answer: []api.Subscription{}, query: pagedWith(web.ByPrefix)},
	"POST /v1/daemons/{ref}/subscriptions": {summary: "Subscribe a daemon to a channel.", scope: api.ScopeOperate, body: api.Subscribe{}, answer: []api.Subscription{}},
	"DELETE /v1/daemons/{ref}/subscriptions": {summary: "End a subscription.", scope: api.ScopeOperate, answer: []api.Subscription{},
		query: []query.Parameter{{Name: "publisher", Is: "string", What: "The node that has the channel."}, {Name: "channel", Is: "string", What: "The channel."}}},

	"GET /v1/migrations": {summary: "Migrations that run or wait.", scope: api.ScopeRead, answer: []api.Migration{}, lines: api.Happening{},
		query: pagedWith(query.Parameter{Name: "all", Is: "boolean", What: "Those that are over too."}, query.Parameter{Name: "follow", Is: "boolean", What: "Not a list, but how migrations go from now on, one happening a line."})},
	"POST /v1/migrations/{ref}/resolve": {summary: "Settle a migration whose other node is gone for good.", body: api.Resolve{}, answer: api.Mended{}},
	"GET /v1/proofs":                    {summary: "Proofs on record that a key signed two histories.", answer: []api.Accusation{}, query: paging},
	"POST /v1/proofs":                   {summary: "Put a proof on record: the node refuses the identity.", bytes: "application/octet-stream", answer: api.Accusation{}},
	"GET /v1/proofs/{ref}":              {summary: "One proof.", binary: "application/octet-stream", query: []query.Parameter{web.ByPrefix}},
	"DELETE /v1/proofs/{ref}":           {summary: "Pardon an identity.", answer: api.Accusation{}},

	"POST /v1/api-tokens":        {summary: "Issue a token for callers over TCP.", body: api.IssueToken{}, answer: api.APIToken{}},
	"GET /v1/api-tokens":         {summary: "The tokens for callers over TCP.", answer: []api.APIToken{}, query: paging},
	"DELETE /v1/api-tokens/{id}": {summary: "Revoke a token.", answer: api.APIToken{}},
}
