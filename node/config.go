package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// Config says what a node is. The zero value is a node that keeps everything in memory,
// listens for peers on a port of 127.0.0.1 that the system picks, and is reached by
// Node.Client alone. Open copies it: later changes have no effect.
type Config struct {
	// Dir is the data directory. Open makes it where it is not there, and makes what is in
	// it readable by the process's user alone. One process has it at a time. Empty: the
	// node keeps everything in memory.
	Dir string

	// Name is what people call the node; its identity is its key. Empty: it has none.
	Name string

	// Listen is the UDP address for other nodes. Empty: 127.0.0.1:0.
	Listen string

	// Key is the node's identity. It stays the caller's. nil: it is read from KeyFile with
	// Passphrase, and made there at the first start. KeyFile is node.key in Dir where it is
	// empty. A node in memory without a Key draws one.
	Key        *identity.KeyPair
	KeyFile    string
	Passphrase []byte

	// Join is a token of a node (Node.Token) that this one joins when it opens. A token is
	// good once. JoinRights are what that node may do here. Empty: it joins none.
	Join       string
	JoinRights trust.Rights

	// Tags are what the node announces; daemons can require them.
	Tags map[string]string

	// Limits are of every daemon that has none of its own; fields that are 0 have their
	// defaults (daemon.ParseNodeLimits).
	Limits daemon.Limits

	// PassivateAfter is how long a daemon without events stays in memory; 0: always.
	// ActiveBytes bounds the memory of all daemons; 0: no bound.
	PassivateAfter time.Duration
	ActiveBytes    int64

	// Compiler compiles modules in other processes, within CompileLimits. nil: they are
	// compiled in this one, and have at most registry.MaxInProcess bytes.
	Compiler      registry.Compiler
	CompileLimits registry.CompileLimits

	// ModuleKeys, where there are any, are those one of which must have signed a module
	// that is to run here. RefuseModules makes the node take no module from a peer.
	ModuleKeys    []identity.EntityID
	RefuseModules bool

	// Prepare is called with the runtime before it starts: to register daemons that are
	// written in Go (host.Runtime.RegisterFactory). nil: nothing is to be done.
	Prepare func(*host.Runtime) error

	// Rebalance is how often the node looks whether another has clearly less to do, and
	// moves one daemon there; 0: never.
	Rebalance time.Duration

	// Cluster makes the node one of a cluster; nil: it is in none.
	Cluster *Cluster

	// Socket is the path of a unix socket for the control API, which its owner may use for
	// everything. Empty: there is none.
	Socket string

	// API, Metrics and Pprof are TCP addresses: for the control API with TLS and tokens,
	// for Prometheus, and for profiles, which a loopback address alone may have. One
	// without a host is 127.0.0.1's. Empty: the node does not listen there.
	API, Metrics, Pprof string

	// APICert and APIKey are PEM files for API. Empty: the node's own, api.crt and api.key
	// in Dir, which are made at the first start.
	APICert, APIKey string

	// AuditLog is a file that gets a line of JSON for each request that changes something
	// or is refused. Empty: the Logger gets it.
	AuditLog string

	// Logger gets the node's log. Each record has an attribute "component": node, host,
	// store, wire, control, audit or cluster. nil: slog.Default().
	Logger *slog.Logger

	// Tracer makes spans of requests, deliveries and migrations. It is asked for once, when
	// the node's id is known. nil: nothing is traced.
	Tracer func(identity.NodeID) (trace.Tracer, error)

	// Version is what the node says that it runs. Empty: "embedded".
	Version string
}

// Cluster says which cluster a node is in. Nodes of one cluster have the same Name and
// Lease.
type Cluster struct {
	// Name is up to 64 characters of a-z 0-9 - _ . and DefaultClusterName where it is empty.
	Name string

	// Lease is after how long a silence a node counts as stopped, and its daemons go on at
	// their standbys: from directory.MinTTL to directory.MaxTTL. 0: DefaultLease.
	Lease time.Duration

	// Listen is the TCP address for the other members of the embedded engine. Empty: the
	// address of the node. Voters is how many nodes keep the directory, an odd number up to
	// MaxVoters; 0: DefaultVoters. JoinTimeout is how long the node asks to be let in; 0: a
	// minute.
	Listen      string
	Voters      int
	JoinTimeout time.Duration

	// Etcd is where an etcd of the operator's own keeps the directory: URLs. Empty: the
	// nodes keep it themselves, and need a Dir for that. EtcdCA, EtcdCert and EtcdKey are
	// PEM files.
	Etcd                      []string
	EtcdCA, EtcdCert, EtcdKey string
	EtcdUser, EtcdPassword    string
}

// Defaults and bounds of a Cluster.
const (
	DefaultClusterName = "main"
	DefaultLease       = 2 * time.Second
	DefaultVoters      = 3
	MaxVoters          = 7 // more only make the engine slower
	maxClusterName     = 64
)

// ErrConfig is every ConfigError.
var ErrConfig = errors.New("not a configuration of a node")

// ConfigError says which field of a Config cannot be. Of Cluster's fields the name begins
// with "Cluster.".
type ConfigError struct {
	Field string
	Text  string
}

func (e *ConfigError) Error() string { return "node: Config." + e.Field + ": " + e.Text }

// Is makes errors.Is(err, ErrConfig) true.
func (e *ConfigError) Is(target error) bool { return target == ErrConfig }

func invalid(field, format string, args ...any) error {
	return &ConfigError{field, fmt.Sprintf(format, args...)}
}

// Validate returns a *ConfigError for the first field that cannot be. It looks at nothing
// but c: files and addresses may still be refused by Open.
func (c *Config) Validate() error {
	if c.Name != "" {
		if err := host.ValidNodeName(c.Name); err != nil {
			return invalid("Name", "%v", err)
		}
	}

	if c.JoinRights&^trust.RightsAll != 0 {
		return invalid("JoinRights", "%v: not rights of a joined node", c.JoinRights)
	}

	for _, d := range []struct {
		field string
		value time.Duration
	}{{"PassivateAfter", c.PassivateAfter}, {"Rebalance", c.Rebalance}} {
		if d.value < 0 {
			return invalid(d.field, "%v is negative", d.value)
		}
	}

	if c.ActiveBytes < 0 {
		return invalid("ActiveBytes", "%d is negative", c.ActiveBytes)
	}
	if c.Pprof != "" && !isLoopback(localByDefault(c.Pprof)) {
		return invalid("Pprof", "%s: profiles show what is in memory: give a loopback address, such as 127.0.0.1:6060", c.Pprof)
	}
	if (c.APICert == "") != (c.APIKey == "") {
		return invalid("APICert", "a certificate and its key go together: give both or neither")
	}
	if c.API != "" && c.APICert == "" && c.Dir == "" {
		return invalid("APICert", "a node in memory has nowhere to keep a certificate of its own: give it one, and its key")
	}
	if c.Cluster == nil {
		return nil
	}

	return c.Cluster.validate(c.Dir)
}

func (c *Cluster) validate(dir string) error {
	if err := validClusterName(c.Name); err != nil {
		return err
	}
	if c.Lease != 0 && (c.Lease < directory.MinTTL || c.Lease > directory.MaxTTL) {
		return invalid("Cluster.Lease", "%v is not a time from %v to %v", c.Lease, directory.MinTTL, directory.MaxTTL)
	}
	if c.Voters < 0 || c.Voters > MaxVoters || c.Voters != 0 && c.Voters%2 == 0 {
		return invalid("Cluster.Voters", "%d is not an odd number up to %d: with an even one no more nodes may fail than with one less", c.Voters, MaxVoters)
	}
	if len(c.Etcd) == 0 && dir == "" {
		return invalid("Cluster.Etcd", "a node with a vote in its cluster keeps that on disk: give a data directory, or an etcd")
	}
	if (c.EtcdCert == "") != (c.EtcdKey == "") {
		return invalid("Cluster.EtcdCert", "a certificate and its key go together: give both or neither")
	}

	return nil
}

func validClusterName(name string) error {
	ok := len(name) <= maxClusterName
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return invalid("Cluster.Name", "%q: not a name of a cluster: use up to %d of a-z 0-9 - _ .", name, maxClusterName)
	}
	return nil
}

// withDefaults returns the configuration with what was left out.
func (c Config) withDefaults() Config {
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}

	if c.Logger == nil {
		c.Logger = slog.Default()
	}

	if c.Version == "" {
		c.Version = "embedded"
	}

	if c.Cluster == nil {
		return c
	}

	cluster := *c.Cluster
	if cluster.Name == "" {
		cluster.Name = DefaultClusterName
	}

	if cluster.Lease == 0 {
		cluster.Lease = DefaultLease
	}

	if cluster.Voters == 0 {
		cluster.Voters = DefaultVoters
	}

	if cluster.JoinTimeout == 0 {
		cluster.JoinTimeout = time.Minute
	}

	c.Cluster = &cluster
	return c
}

// localByDefault makes an address without a host one of this machine alone.
func localByDefault(addr string) string {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
