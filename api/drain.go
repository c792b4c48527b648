package api

// Drain asks for every daemon of a node to move to other nodes.
type Drain struct {
	To         []string `json:"to,omitempty"`          // nodes that may take them; none: all that the node trusts
	Parallel   int      `json:"parallel,omitempty"`    // daemons that move at a time; 0: the node's choice
	DeadlineMS int64    `json:"deadline_ms,omitempty"` // 0: none
	Detach     bool     `json:"detach,omitempty"`      // answer once it has begun
}

// DrainStep is one line of the answer to Drain: what became of a daemon, how far
// it is, or the end.
type DrainStep struct {
	Daemon   *Drained       `json:"daemon,omitempty"`
	Progress *DrainProgress `json:"progress,omitempty"`
	Summary  *DrainSummary  `json:"summary,omitempty"`
	Error    *Problem       `json:"error,omitempty"`
}

// Drained is what became of one daemon.
type Drained struct {
	Name       string  `json:"name"`
	Origin     string  `json:"origin"`
	EntityID   string  `json:"entity_id"`
	State      string  `json:"state"`        // moved, gone (by another hand) or stayed
	To         string  `json:"to,omitempty"` // where it went, or was last to go
	Epoch      uint64  `json:"epoch,omitempty"`
	Bytes      int64   `json:"bytes"`
	DowntimeMS float64 `json:"downtime_ms"`
	Attempts   int     `json:"attempts"`
	Receipt    string  `json:"receipt,omitempty"` // its digest, of one that moved
	Reason     string  `json:"reason,omitempty"`  // why it stayed
}

// DrainProgress is how far a drain is.
type DrainProgress struct {
	Total       int     `json:"total"`
	Gone        int     `json:"gone"`
	Stayed      int     `json:"stayed"`
	Bytes       int64   `json:"bytes"`
	ElapsedMS   float64 `json:"elapsed_ms"`
	RemainingMS float64 `json:"remaining_ms,omitempty"` // estimated; absent: not known
}

// DrainSummary is how a drain ended.
type DrainSummary struct {
	NodeID string `json:"node_id"`
	DrainProgress
	Left []Drained `json:"left"` // daemons that stayed
}
