package api

// RecoveryRequest asks for a recovery.
type RecoveryRequest struct {
	DryRun bool `json:"dry_run"` // say what would be done, and change nothing
}

// Recovery is what was recovered of a cluster, or would be.
type Recovery struct {
	Cluster string            `json:"cluster"`
	DryRun  bool              `json:"dry_run"`
	Nodes   []SurveyedNode    `json:"nodes"`
	Daemons []RecoveredDaemon `json:"daemons"` // that go on
	Lost    []LostDaemon      `json:"lost"`    // that do not
}

// SurveyedNode is a node that was asked what it has.
type SurveyedNode struct {
	NodeID string `json:"node_id"`
	Name   string `json:"name,omitempty"`
	Answer string `json:"answer"` // answers, silent or refuses
	Copies int    `json:"copies"` // that it has
}

// RecoveredDaemon is a daemon that goes on.
type RecoveredDaemon struct {
	Entity    string         `json:"entity"`
	Name      string         `json:"name"`
	Node      string         `json:"node"`                 // node id: where its longest copy is
	Epoch     uint64         `json:"epoch"`                // under which it goes on
	Sequence  uint64         `json:"sequence"`             // of its last output
	Head      string         `json:"head"`                 // hash of that, in hexadecimal
	Complete  bool           `json:"complete"`             // the copy has all that was acknowledged, as far as its node knows
	Copies    []SurveyedCopy `json:"copies"`               // all that there are
	NotRaised string         `json:"not_raised,omitempty"` // why the daemon keeps its epoch
}

// SurveyedCopy is a node's copy of a daemon, and what its chain proves.
type SurveyedCopy struct {
	Node string `json:"node"` // node id
	Copy
	ProvenEpoch    uint64 `json:"proven_epoch"`
	ProvenSequence uint64 `json:"proven_sequence"`
	Error          string `json:"error,omitempty"` // why it proves nothing, or was not promoted
}

// LostDaemon is a daemon that a node remembers and of which no copy is left that proves
// its chain.
type LostDaemon struct {
	Entity string         `json:"entity"`
	Name   string         `json:"name"`
	Owner  string         `json:"owner"` // node id, of the last
	Epoch  uint64         `json:"epoch"`
	Reason string         `json:"reason"`
	Copies []SurveyedCopy `json:"copies"` // that prove nothing
}

// ToDirectory asks a node to come to the new directory of the node that asks.
type ToDirectory struct {
	Cluster string `json:"cluster"` // its name
}
