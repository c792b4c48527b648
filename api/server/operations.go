package server

import (
	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
)

var (
	atNode   = []query.Parameter{{Name: "node", Is: "string", What: "The node that has the channel; absent: this one."}}
	groupKey = query.Parameter{Name: "key", Is: "string", What: "To a group: by which its member is chosen."}
	paging   = []query.Parameter{{Name: "limit", Is: "integer", What: "At most so many entries, up to 1000; the Link header names the next page."}, {Name: "after", Is: "string", What: "Where the page begins: from the Link header.", Empty: true}}
)

func pagedWith(more ...query.Parameter) []query.Parameter { return append(more, paging...) }

// operations are those of the API, by the pattern of their route.
var operations = withDryRuns(map[string]access.Operation{
	"GET /v1/openapi.json": {Summary: "This document.", Scope: api.ScopeRead, Binary: "application/json"},
	"GET /v1/happenings": {Summary: "What happens on this node from now on.", Scope: api.ScopeRead, Lines: api.Happening{}, Query: []query.Parameter{{Name: "all", Is: "boolean", What: "On the nodes that it trusts too."},
		{Name: "since", Is: "string", What: "Before that, what happened since this time (RFC 3339), as far as the node, since its start, remembers."}}},

	"GET /v1/node":                  {Summary: "The node itself, with what it announces.", Scope: api.ScopeRead, Answer: api.Node{}, Query: []query.Parameter{{Name: "kind", Is: "string", What: "Of which its daemons are counted, as alike.", Empty: true}}},
	"GET /v1/nodes":                 {Summary: "The node and the nodes that it trusts.", Scope: api.ScopeRead, Answer: []api.Node{}, Query: paging},
	"GET /v1/nodes/{node}":          {Summary: "One node, with what it announces.", Scope: api.ScopeRead, Answer: api.Node{}, Query: []query.Parameter{web.ByPrefix}},
	"POST /v1/nodes/{node}/drain":   {Summary: "Move every daemon of a node to others.", Scope: api.ScopeOperate, Body: api.Drain{}, Lines: api.DrainStep{}},
	"DELETE /v1/nodes/{node}/drain": {Summary: "End a drain: the node takes daemons again.", Scope: api.ScopeOperate, Answer: api.Node{}},
	"POST /v1/token": {Summary: "Issue a token by which another node joins this one.", Answer: api.Token{},
		Query: []query.Parameter{{Name: "ttl", Is: "string", What: "How long it is good, such as 1h; absent: an hour."}, {Name: "rights", Is: "string", What: "Needed: none, or some of all,read,operate,migrate,channels,kinds,join; all is every one but join."}}},
	"POST /v1/join": {Summary: "Join the node that issued a token.", Body: api.Token{}, Answer: api.Node{},
		Query: []query.Parameter{{Name: "rights", Is: "string", What: "What that node may do here: none, or some of all,read,operate,migrate,channels,kinds; absent: all."}}},
	"PUT /v1/trust/{node}":    {Summary: "Set what a trusted node may do.", Answer: api.Node{}, Query: []query.Parameter{{Name: "rights", Is: "string", What: "Needed: none, or some of all,read,operate,migrate,channels,kinds,join; all is every one but join."}}},
	"DELETE /v1/trust/{node}": {Summary: "Trust a node no more.", Answer: api.Node{}},

	"GET /v1/cluster":                       {Summary: "How the node's cluster stands.", Scope: api.ScopeRead, Answer: api.ClusterStatus{}},
	"POST /v1/cluster/members":              {Summary: "Come to the node's cluster: asked by nodes alone.", Body: api.Admission{}, Answer: api.Admitted{}},
	"DELETE /v1/cluster/members/{node}":     {Summary: "Forget a node of the cluster that is gone for good.", Answer: api.ClusterMember{}},
	"POST /v1/cluster/recovery":             {Summary: "Begin a new directory in place of one that is lost for good, with the longest provable copy of each daemon.", Body: api.RecoveryRequest{}, Answer: api.Recovery{}},
	"GET /v1/cluster/copies":                {Summary: "What the node itself has of its cluster's daemons.", Scope: api.ScopeRead, Answer: []api.Copy{}, Query: paging},
	"GET /v1/cluster/copies/{entity}/chain": {Summary: "The chain of what the node itself has of a daemon, sealed by the daemon's key.", Scope: api.ScopeRead, Binary: "application/octet-stream"},
	"GET /v1/cluster/known":                 {Summary: "What the node remembers that the directory said of daemons.", Scope: api.ScopeRead, Answer: []api.KnownDaemon{}, Query: paging},
	"POST /v1/cluster/promotions":           {Summary: "Make the node's copy of a daemon the daemon, while there is no directory: asked by nodes alone.", Body: api.Promotion{}, Answer: api.Promotion{}},
	"PUT /v1/cluster/directory":             {Summary: "Come to the new directory of the node that asks: asked by nodes alone.", Body: api.ToDirectory{}, Answer: api.ToDirectory{}},

	"GET /v1/groups":                {Summary: "The groups that the node keeps.", Scope: api.ScopeRead, Answer: []api.Group{}, Query: pagedWith(query.Parameter{Name: "all", Is: "boolean", What: "Those of its peers too."})},
	"POST /v1/groups":               {Summary: "Make a group of daemons of one kind.", Body: api.CreateGroup{}, Answer: api.Group{}},
	"GET /v1/groups/{group}":        {Summary: "One group, wherever it is kept.", Scope: api.ScopeRead, Answer: api.Group{}, Query: []query.Parameter{{Name: "local", Is: "boolean", What: "Ask no other node."}}},
	"DELETE /v1/groups/{group}":     {Summary: "Stop a group's members, and forget it.", Scope: api.ScopeOperate, Answer: api.Group{}, Query: []query.Parameter{{Name: "local", Is: "boolean", What: "The one that this node keeps, though others keep one of the name."}}},
	"POST /v1/groups/{group}/scale": {Summary: "Make or stop members, until there are so many.", Scope: api.ScopeOperate, Body: api.ScaleGroup{}, Answer: api.Group{}},
	"POST /v1/groups/{group}/heal":  {Summary: "Look at the members, and make those anew that are lost.", Scope: api.ScopeOperate, Body: api.HealGroup{}, Answer: api.Group{}},
	"GET /v1/sightings/{entity}":    {Summary: "What this node alone knows of a daemon.", Scope: api.ScopeRead, Answer: api.Sighting{}},

	"GET /v1/applications":               {Summary: "What wasmhost apply made, by application.", Scope: api.ScopeRead, Answer: []api.Application{}, Query: paging},
	"GET /v1/applications/{application}": {Summary: "What wasmhost apply made of one application.", Scope: api.ScopeRead, Answer: api.Application{}},
	"PUT /v1/applications/{application}": {Summary: "Remember what wasmhost apply made, in the place of the revision that is named.", Body: api.Application{}, Answer: api.Application{}},

	"GET /v1/kinds":        {Summary: "The kinds.", Scope: api.ScopeRead, Answer: []api.Kind{}, Query: paging},
	"GET /v1/kinds/{kind}": {Summary: "One kind, with the report on its module.", Scope: api.ScopeRead, Answer: api.Kind{}},
	"PUT /v1/kinds/{kind}": {Summary: "Make a module a kind. Headers Wasmhost-Signature may hold signatures of it.", Bytes: "application/wasm", Limit: maxModule, Answer: api.Kind{},
		Query: []query.Parameter{{Name: "limit", Is: "string", What: "NAME=VALUE, a limit of the kind's daemons; may stand several times.", Many: true}, {Name: "to", Is: "string", What: "A node that is to have it as well, or all; may stand several times.", Many: true}}},
	"DELETE /v1/kinds/{kind}":     {Summary: "Forget a kind that has no daemons.", Answer: api.Kind{}},
	"GET /v1/limits":              {Summary: "The limits of daemons that have no others.", Scope: api.ScopeRead, Answer: api.NodeLimits{}},
	"GET /v1/kinds/{kind}/limits": {Summary: "What bounds daemons of a kind.", Scope: api.ScopeRead, Answer: api.KindLimits{}},
	"PUT /v1/kinds/{kind}/limits": {Summary: "Set limits of a kind, and of those of its daemons on this node that had the kind's.", Body: api.SetLimits{}, Answer: api.KindLimits{}},
	"GET /v1/kinds/{kind}/module": {Summary: "A kind's module.", Scope: api.ScopeRead, Binary: "application/wasm",
		Query: []query.Parameter{{Name: "digest", Is: "string", What: "Another module that the node has, such as the kind's before; in hexadecimal."}}},

	"GET /v1/daemons":  {Summary: "The daemons of this node.", Scope: api.ScopeRead, Answer: []api.Daemon{}, Lines: api.Daemon{}, Query: pagedWith(query.Parameter{Name: "all", Is: "boolean", What: "Those of its peers too, and those that left."})},
	"POST /v1/daemons": {Summary: "Spawn a daemon.", Body: api.Spawn{}, Answer: api.Daemon{}},
	"GET /v1/top": {Summary: "The daemons of this node that use most, over an interval.", Scope: api.ScopeRead, Answer: api.Busiest{},
		Query: []query.Parameter{{Name: "interval", Is: "string", What: "How long to look; 1s unless it is said, at most 1m."}, {Name: "daemons", Is: "integer", What: "How many daemons at most; 20 unless it is said."}}},
	"GET /v1/held":                 {Summary: "The daemons of this node that are held, and why.", Scope: api.ScopeRead, Answer: []api.Held{}, Query: paging},
	"POST /v1/rebalance":           {Summary: "Move one daemon to a node that has clearly less, or say which would move.", Scope: api.ScopeOperate, Body: api.Rebalance{}, Answer: api.Rebalanced{}},
	"POST /v1/place":               {Summary: "Where a daemon of a kind would be made, and why; none is.", Scope: api.ScopeRead, Body: api.PlaceKind{}, Answer: api.Placed{}},
	"GET /v1/incarnation":          {Summary: "Which life of the node this is: how often it was restored from a backup, and whether that is confirmed.", Scope: api.ScopeRead, Answer: api.Incarnation{}},
	"POST /v1/incarnation/confirm": {Summary: "Confirm a node that was restored, once none of its daemons is held as unconfirmed: its channels are open again.", Answer: api.Incarnation{}},
	"POST /v1/backup":              {Summary: "The node's data directory as it is at one moment, while the node goes on: a tar stream that ends with the signed manifest.", Body: api.Backup{}, Limit: maxBackup, Binary: "application/x-tar"},
	"POST /v1/snapshots": {Summary: "Make a daemon of a snapshot. The header Wasmhost-Identity may hold the seed of its identity, in hexadecimal.",
		Bytes: "application/cbor", Limit: maxSnapshot, Answer: api.Daemon{}, Query: []query.Parameter{{Name: "kind", Is: "string", What: "Another kind than the snapshot's."}, {Name: "name", Is: "string", What: "Another name."},
			{Name: "unsigned", Is: "boolean", What: "Take a snapshot that its daemon has not signed; the caller answers for what is in it."}}},
	"GET /v1/daemons/{ref}":    {Summary: "One daemon, wherever it is.", Scope: api.ScopeRead, Answer: api.Daemon{}, Query: []query.Parameter{web.ByPrefix, {Name: "local", Is: "boolean", What: "Ask no other node."}}},
	"DELETE /v1/daemons/{ref}": {Summary: "Remove a daemon: state, history and key are gone.", Scope: api.ScopeOperate, Answer: api.Daemon{}, Query: []query.Parameter{{Name: "epoch", Is: "integer", What: "Only where it is under this epoch."}}},
	"POST /v1/daemons/{ref}/events": {Summary: "Deliver the body as one event, and answer once it is durable. A ref that is group/NAME, escaped, is to a member of the group.", Scope: api.ScopeSend, Bytes: "application/octet-stream", Limit: api.MaxEvent, Answer: api.Sent{},
		Event: true, Query: []query.Parameter{{Name: "id", Is: "string", What: "SENDER/NUMBER: the event is applied once, however often it is sent."}, groupKey}},
	"POST /v1/daemons/{ref}/stream": {Summary: "Deliver a stream of events: frames of four bytes of length, big-endian, and the event.", Scope: api.ScopeSend,
		Bytes: "application/octet-stream", Lines: api.Sent{}, Event: true, Stream: true, Query: []query.Parameter{{Name: "id", Is: "string", What: "SENDER/NUMBER of the first event."}, groupKey}},
	"POST /v1/daemons/{ref}/query":                    {Summary: "Ask a daemon what the body is, which changes nothing.", Scope: api.ScopeRead, Bytes: "application/octet-stream", Limit: api.MaxEvent, Answer: api.Answer{}, Query: []query.Parameter{web.ByPrefix}},
	"GET /v1/daemons/{ref}/logs":                      {Summary: "The kept lines of a daemon's log.", Scope: api.ScopeRead, Lines: api.LogLine{}, Query: []query.Parameter{web.ByPrefix, {Name: "follow", Is: "boolean", What: "And those that come."}}},
	"GET /v1/daemons/{ref}/tail":                      {Summary: "A daemon's outputs from now on, each once it is durable.", Scope: api.ScopeRead, Lines: api.Output{}, Query: []query.Parameter{web.ByPrefix, {Name: "after", Is: "string", What: "From the output after this one on: ORIGIN:SEQUENCE, or a sequence of the daemon that has the name; the header Last-Event-ID says the same."}}},
	"GET /v1/daemons/{ref}/snapshot":                  {Summary: "A daemon's snapshot.", Scope: api.ScopeRead, Binary: "application/cbor", Query: []query.Parameter{web.ByPrefix}},
	"GET /v1/daemons/{ref}/chain":                     {Summary: "A daemon's chain, as a file that can be verified offline.", Scope: api.ScopeRead, Binary: "application/octet-stream", Query: []query.Parameter{web.ByPrefix}},
	"GET /v1/daemons/{ref}/receipts":                  {Summary: "The receipts of a daemon's moves.", Scope: api.ScopeRead, Answer: []api.Receipt{}, Query: pagedWith(web.ByPrefix)},
	"GET /v1/daemons/{ref}/receipts/{epoch}":          {Summary: "One receipt, as it was signed.", Scope: api.ScopeRead, Binary: "application/cbor", Query: []query.Parameter{web.ByPrefix}},
	"POST /v1/daemons/{ref}/stop":                     {Summary: "Stop a daemon until it is started: events are refused, and its timers and what it sends wait.", Scope: api.ScopeOperate, Answer: api.Daemon{}},
	"POST /v1/daemons/{ref}/start":                    {Summary: "Start a daemon that was stopped.", Scope: api.ScopeOperate, Answer: api.Daemon{}},
	"POST /v1/daemons/{ref}/mend":                     {Summary: "Bring back a daemon that cannot go on.", Scope: api.ScopeOperate, Body: api.Mend{}, Answer: api.Mended{}},
	"POST /v1/daemons/{ref}/confirm":                  {Summary: "End a hold: the copy of the daemon on this node goes on, under a higher epoch.", Scope: api.ScopeOperate, Answer: api.Mended{}},
	"POST /v1/daemons/{ref}/yield":                    {Summary: "End a hold: the copy of the daemon on this node is dropped for the one that has more.", Scope: api.ScopeOperate, Answer: api.Mended{}},
	"POST /v1/daemons/{ref}/upgrade":                  {Summary: "Give a daemon another version of its code.", Scope: api.ScopeOperate, Body: api.Upgrade{}, Answer: api.Daemon{}},
	"POST /v1/upgrades":                               {Summary: "Give all daemons of a kind, or of a group, on all nodes, another version of their code, several at a time.", Scope: api.ScopeOperate, Body: api.Rollout{}, Lines: api.RolloutStep{}},
	"GET /v1/daemons/{ref}/limits":                    {Summary: "What bounds a daemon.", Scope: api.ScopeRead, Answer: api.DaemonLimits{}, Query: []query.Parameter{web.ByPrefix}},
	"PUT /v1/daemons/{ref}/limits":                    {Summary: "Set limits of a daemon, while it runs.", Scope: api.ScopeOperate, Body: api.SetLimits{}, Answer: api.DaemonLimits{}},
	"GET /v1/daemons/{ref}/grants":                    {Summary: "What a daemon may do.", Scope: api.ScopeRead, Answer: api.Grants{}, Query: []query.Parameter{web.ByPrefix}},
	"POST /v1/daemons/{ref}/grants":                   {Summary: "Change what a daemon may do, while it runs.", Body: api.ChangeGrants{}, Answer: api.Grants{}},
	"POST /v1/daemons/{ref}/fork":                     {Summary: "Make daemons that begin with the state of this one.", Scope: api.ScopeOperate, Body: api.Fork{}, Answer: []api.Daemon{}},
	"GET /v1/daemons/{ref}/quarantine":                {Summary: "Events that a daemon failed on.", Scope: api.ScopeRead, Answer: []api.Quarantined{}, Query: pagedWith(web.ByPrefix)},
	"POST /v1/daemons/{ref}/quarantine/{index}/retry": {Summary: "Have a daemon process a failed event again.", Scope: api.ScopeOperate, Answer: api.Sent{}},
	"DELETE /v1/daemons/{ref}/quarantine/{index}":     {Summary: "Settle a failed event without trying it again.", Scope: api.ScopeOperate},
	"POST /v1/daemons/{ref}/place":                    {Summary: "Pick a node for a daemon.", Scope: api.ScopeOperate, Body: api.Place{}, Answer: api.Placed{}},
	"POST /v1/daemons/{ref}/migrate":                  {Summary: "Move a daemon to another node.", Scope: api.ScopeOperate, Body: api.Migrate{}, Lines: api.MigrationStep{}},

	"GET /v1/channels":              {Summary: "The channels.", Scope: api.ScopeRead, Query: pagedWith(atNode...), Answer: []api.Channel{}},
	"POST /v1/channels":             {Summary: "Make a channel.", Body: api.CreateChannel{}, Answer: api.Channel{}},
	"GET /v1/channels/{channel}":    {Summary: "One channel.", Scope: api.ScopeRead, Query: atNode, Answer: api.Channel{}},
	"DELETE /v1/channels/{channel}": {Summary: "Take a channel away.", Query: atNode, Answer: api.Channel{}},
	"POST /v1/channels/{channel}/publish": {Summary: "Publish a stream of events: frames of four bytes of length, big-endian, and the event.", Scope: api.ScopeSend,
		Bytes: "application/octet-stream", Lines: api.Published{}, Event: true, Stream: true, Query: atNode},
	"GET /v1/channels/{channel}/events":    {Summary: "Follow a channel from now on.", Scope: api.ScopeRead, Lines: api.ChannelEvent{}, Query: []query.Parameter{atNode[0], {Name: "after", Is: "string", What: "From the event after this cursor on: BIRTH:SEQUENCE as an event or the channel says it, or a sequence of the channel that there is; the header Last-Event-ID says the same."}}},
	"GET /v1/revocations":                  {Summary: "Revocations of channel permissions.", Scope: api.ScopeRead, Answer: []api.Revocation{}, Query: paging},
	"POST /v1/revocations":                 {Summary: "Revoke permissions to channels.", Body: api.Revocation{}, Answer: api.Revocation{}},
	"GET /v1/daemons/{ref}/subscriptions":  {Summary: "What a daemon is subscribed to.", Scope: api.ScopeRead, Answer: []api.Subscription{}, Query: pagedWith(web.ByPrefix)},
	"POST /v1/daemons/{ref}/subscriptions": {Summary: "Subscribe a daemon to a channel.", Scope: api.ScopeOperate, Body: api.Subscribe{}, Answer: []api.Subscription{}},
	"DELETE /v1/daemons/{ref}/subscriptions": {Summary: "End a subscription.", Scope: api.ScopeOperate, Answer: []api.Subscription{},
		Query: []query.Parameter{{Name: "publisher", Is: "string", What: "The node that has the channel."}, {Name: "channel", Is: "string", What: "The channel."}}},

	"GET /v1/migrations": {Summary: "Migrations that run or wait.", Scope: api.ScopeRead, Answer: []api.Migration{}, Lines: api.Happening{},
		Query: pagedWith(query.Parameter{Name: "all", Is: "boolean", What: "Those that are over too."}, query.Parameter{Name: "follow", Is: "boolean", What: "Not a list, but how migrations go from now on, one happening a line."})},
	"POST /v1/migrations/{ref}/resolve": {Summary: "Settle a migration whose other node is gone for good.", Body: api.Resolve{}, Answer: api.Mended{}},
	"GET /v1/proofs":                    {Summary: "Proofs on record that a key signed two histories.", Answer: []api.Accusation{}, Query: paging},
	"POST /v1/proofs":                   {Summary: "Put a proof on record: the node refuses the identity.", Bytes: "application/octet-stream", Answer: api.Accusation{}},
	"GET /v1/proofs/{ref}":              {Summary: "One proof.", Binary: "application/octet-stream", Query: []query.Parameter{web.ByPrefix}},
	"DELETE /v1/proofs/{ref}":           {Summary: "Pardon an identity.", Answer: api.Accusation{}},

	"POST /v1/api-tokens":        {Summary: "Issue a token for callers over TCP.", Body: api.IssueToken{}, Answer: api.APIToken{}},
	"GET /v1/api-tokens":         {Summary: "The tokens for callers over TCP.", Answer: []api.APIToken{}, Query: paging},
	"DELETE /v1/api-tokens/{id}": {Summary: "Revoke a token.", Answer: api.APIToken{}},
})
