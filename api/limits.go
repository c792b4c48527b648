package api

// SetLimits asks that limits of a daemon or a kind become others. What is not named stays.
type SetLimits struct {
	Limits map[string]int64 `json:"limits"` // by name: bytes, counts, nanoseconds; 0: the kind's or the node's hold again
}

// DaemonLimits is what bounds a daemon.
type DaemonLimits struct {
	Name     string           `json:"name"`
	Origin   string           `json:"origin"`
	EntityID string           `json:"entity_id"`
	Kind     string           `json:"kind"`
	NodeID   string           `json:"node_id"`
	Limits   map[string]int64 `json:"limits"`         // that hold: bytes, counts, nanoseconds
	Own      map[string]int64 `json:"own"`            // those of them that are the daemon's own
	Used     []Used           `json:"used,omitempty"` // of its bounds
}

// KindLimits is what bounds daemons of a kind.
type KindLimits struct {
	Name    string            `json:"name"`
	Limits  map[string]int64  `json:"limits"`            // that hold for daemons that are made without others
	Own     map[string]int64  `json:"own"`               // those of them that are the kind's
	Changed int               `json:"changed,omitempty"` // daemons of the node that have what was set
	Kept    []DaemonKeepsThem `json:"kept,omitempty"`    // daemons of the node that have not
}

// DaemonKeepsThem is a daemon that did not take limits of its kind.
type DaemonKeepsThem struct {
	Name     string   `json:"name"`
	EntityID string   `json:"entity_id"`
	Error    *Problem `json:"error,omitempty"` // absent: it has others of its own
}

// NodeLimits is what bounds the daemons of a node that have no limits of their own.
type NodeLimits struct {
	Limits map[string]int64 `json:"limits"` // bytes, counts, nanoseconds
}

// Used is how much of one of a daemon's bounds is taken now.
type Used struct {
	Limit string `json:"limit"` // its name, as abi/SPEC.md has it
	Used  int64  `json:"used"`  // events, bytes, callers or timers
	Most  int64  `json:"most"`
	Near  bool   `json:"near,omitempty"` // it will soon be used up, for good: an event that would pass it fails
}
