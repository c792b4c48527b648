package api

// ClusterStatus is how a node's cluster stands, as the node knows it.
type ClusterStatus struct {
	Name     string          `json:"name"`
	Engine   string          `json:"engine"`  // embedded or etcd
	Holding  bool            `json:"holding"` // the node's lease has ended: its daemons hold their events
	LeaseMS  int64           `json:"lease_ms"`
	Error    string          `json:"error,omitempty"` // of the engine's last answer
	Daemons  int             `json:"daemons"`         // in the whole cluster
	Wanting  int             `json:"wanting"`         // of them: those with fewer standbys in sync than they are to have
	Orphaned int             `json:"orphaned"`        // of them: those whose owner is gone, and no standby is there
	Members  []ClusterMember `json:"members"`
}

// ClusterMember is a node of a cluster.
type ClusterMember struct {
	NodeID   string `json:"node_id"`
	Name     string `json:"name,omitempty"`
	Addr     string `json:"addr,omitempty"`
	Here     bool   `json:"here"`           // it has a session
	Role     string `json:"role"`           // voter, learner or client: its part in the embedded engine
	Leader   bool   `json:"leader"`         // of the embedded engine
	Peer     string `json:"peer,omitempty"` // where it listens for the engine's members
	LeaseMS  int64  `json:"lease_ms"`       // of its session
	Owns     int    `json:"owns"`           // daemons
	StandsBy int    `json:"stands_by"`      // for so many it is a standby in sync
	Self     bool   `json:"self,omitempty"` // the node that was asked
}

// Admission is what a node asks that comes to a cluster.
type Admission struct {
	Cluster string `json:"cluster"` // its name
	Addr    string `json:"addr"`    // HOST:PORT, TCP, where it would listen for the engine's members

	// Directory is the version of the protocol by which the node would ask the
	// directory, if it gets no vote; 0: one that is answered no more.
	Directory int `json:"directory,omitempty"`
}

// Admitted is what it is answered.
type Admitted struct {
	Cluster string   `json:"cluster"` // its name
	Token   string   `json:"token,omitempty"`
	Voter   bool     `json:"voter"`            // it is to be a member of the engine; else it asks those that are
	Others  string   `json:"others,omitempty"` // with Voter: the members
	Secret  []byte   `json:"secret,omitempty"` // with Voter
	Voters  []string `json:"voters"`           // node ids of the members

	Directory int            `json:"directory,omitempty"` // as in Admission: what the members answer
	Nodes     []AdmittedNode `json:"nodes,omitempty"`     // the members, for a node that does not know them
}

// AdmittedNode introduces a node of the cluster to one that comes.
type AdmittedNode struct {
	Key    string `json:"key"`
	Name   string `json:"name,omitempty"`
	Addr   string `json:"addr,omitempty"`
	Rights string `json:"rights"` // what it was granted in the cluster
}

// Copy is what a node says that it has of a daemon of its cluster.
type Copy struct {
	Entity string `json:"entity"`
	Name   string `json:"name,omitempty"`
	Role   string `json:"role"`    // owner or standby
	Epoch  uint64 `json:"epoch"`   // of the owner that wrote it
	Index  uint64 `json:"index"`   // how many records its history has
	InSync bool   `json:"in_sync"` // the directory called the node the owner, or a standby in sync, when it was heard last
	Whole  bool   `json:"whole"`   // it has had all that its owner had
	State  string `json:"state"`   // as of a daemon; otherwise standby
}

// KnownDaemon is what a node remembers that its cluster's directory said of a daemon.
type KnownDaemon struct {
	Entity string   `json:"entity"`
	Name   string   `json:"name"`
	Owner  string   `json:"owner"` // node id
	Epoch  uint64   `json:"epoch"`
	Want   int      `json:"want"` // how many standbys it is to have
	Ack    string   `json:"ack"`
	InSync []string `json:"in_sync"` // node ids of the standbys
}

// Promotion asks a node to make its copy of a daemon the daemon.
type Promotion struct {
	Entity   string `json:"entity"`
	Epoch    uint64 `json:"epoch"`    // of the copy, as its chain proves
	Sequence uint64 `json:"sequence"` // of its last output
	Head     string `json:"head"`     // hash of that, in hexadecimal
	To       uint64 `json:"to"`       // the epoch from here on
}
