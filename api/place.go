package api

// Place asks for a node for a daemon.
type Place struct {
	Where   map[string]string `json:"where,omitempty"` // tags that the node must have
	MinFree int64             `json:"min_free_memory_bytes,omitempty"`

	MaxAlike int               `json:"max_alike,omitempty"` // of daemons of its kind on the node, this one included; 0: any number
	Prefer   map[string]string `json:"prefer,omitempty"`    // tags: the more of them a node has the better, before all else
	Spread   string            `json:"spread,omitempty"`    // what is to have few daemons of its kind: "node", or the key of a tag
	Pack     bool              `json:"pack,omitempty"`      // the node with the most daemons comes first, so that others stay free
}

// PlaceKind asks where a daemon of a kind would be made.
type PlaceKind struct {
	Kind string `json:"kind"`
	Place
}

// Placed is the node that was picked, and what was thought of each.
type Placed struct {
	NodeID   string    `json:"node_id"`
	Name     string    `json:"name"`
	Verdicts []Verdict `json:"verdicts"` // best first
}

// Verdict is what a node is worth for a daemon.
type Verdict struct {
	NodeID  string   `json:"node_id"`
	Name    string   `json:"name"`
	Fits    bool     `json:"fits"`
	Misses  []string `json:"misses,omitempty"` // requirements that it does not meet
	Score   float64  `json:"score"`
	Reasons []string `json:"reasons,omitempty"` // what the score is made of
}

// Rebalance asks for one daemon of this node to move, where that makes it and another
// more even.
type Rebalance struct {
	DryRun bool `json:"dry_run,omitempty"` // say what would move, and move nothing
}

// Rebalanced is what moved; all but Reason are empty where nothing did.
type Rebalanced struct {
	Name       string  `json:"name,omitempty"`
	EntityID   string  `json:"entity_id,omitempty"`
	To         string  `json:"to,omitempty"` // node id
	ToName     string  `json:"to_name,omitempty"`
	Epoch      uint64  `json:"epoch,omitempty"` // after the move; 0: nothing has moved
	DowntimeMS float64 `json:"downtime_ms,omitempty"`
	Reason     string  `json:"reason"`
}
