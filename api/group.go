package api

// Sighting is what a node knows of a daemon by itself.
type Sighting struct {
	Daemon  *Daemon `json:"daemon,omitempty"`        // it is there
	Coming  bool    `json:"coming,omitempty"`        // it may be about to be
	Went    *Moved  `json:"went,omitempty"`          // where it went from there
	Stopped uint64  `json:"stopped_epoch,omitempty"` // under which it was stopped there
}

// Moved is where a daemon went.
type Moved struct {
	NodeID string `json:"node_id"`
	Epoch  uint64 `json:"epoch"`
}

// Group is a group of interchangeable daemons, as its node knows it.
type Group struct {
	Name     string `json:"name"`
	ID       string `json:"id"` // of its seed: eight hexadecimal digits
	Kind     string `json:"kind"`
	NodeID   string `json:"node_id"` // which keeps the group
	Size     int    `json:"size"`
	Strategy string `json:"strategy"`
	Standbys int    `json:"standbys,omitempty"` // of each member
	Healthy  int    `json:"healthy"`
	Senders  int    `json:"senders"` // whose events with ids it remembers the members of

	// AlsoAt are other nodes that keep a group of the name: while there are some, nothing
	// is sent to either.
	AlsoAt []string `json:"also_at,omitempty"`

	Members []GroupMember `json:"members"`
}

// GroupMember is one daemon of a group.
type GroupMember struct {
	Index    int    `json:"index"`
	Name     string `json:"name"`
	EntityID string `json:"entity_id"`
	NodeID   string `json:"node_id"` // where it was seen last
	Epoch    uint64 `json:"epoch"`
	Health   string `json:"health"` // healthy, silent, failed or gone
	Reason   string `json:"reason,omitempty"`
}

// CreateGroup asks for a group.
type CreateGroup struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Size     int    `json:"size"`
	Strategy string `json:"strategy,omitempty"` // round-robin, least-loaded or consistent-hash; absent: round-robin
	Config   []byte `json:"config,omitempty"`   // of each member
	Seed     []byte `json:"seed,omitempty"`     // 32 bytes, from which the members' identities come; absent: drawn at random
	Place    Place  `json:"place,omitzero"`     // of each member; max_alike and spread are of the group's own members

	Standbys int    `json:"standbys,omitempty"` // of each member
	Ack      string `json:"ack,omitempty"`
}

// ScaleGroup asks for another size.
type ScaleGroup struct {
	Size int `json:"size"`
}

// HealGroup asks that a group's members are looked at now.
type HealGroup struct {
	Lost []int `json:"lost,omitempty"` // indices of members that will not come back: they are recreated
}
