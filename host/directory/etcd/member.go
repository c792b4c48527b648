package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// Config says what a member of the embedded etcd is made of.
type Config struct {
	Dir    string // the member's own
	Name   string // the node's id: unique in the cluster
	Addr   string // HOST:PORT, TCP: where it listens to other members
	Reach  string // HOST:PORT where they reach it; empty: Addr
	Token  string // names the cluster
	Others string // NAME=URL,…: the members, with this one, of the cluster that it comes to; empty: it begins one
	Secret Secret
	TTL    time.Duration // of the nodes' leases: elections take a quarter of it, at least 100 ms
	Logger *slog.Logger
}

// Member is a member of the embedded etcd.
type Member struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	logger *slog.Logger
	once   sync.Once
	failed *failure
	done   chan struct{} // closed when it has ended
}

// maxLearners is how many may be coming at a time.
const maxLearners = 3

// compactEvery is after what time etcd forgets what is no longer so.
const compactEvery = "5m"

// Start starts the member. That it answers is not said: the others may not be
// there. Close it. Errors wrap directory.ErrOlder or directory.ErrDamaged if what the
// member has on disk cannot take part; a member that finds that out later ends with them.
// Files and goroutines of such a member are left until the process ends.
func Start(c Config) (*Member, error) {
	files, err := c.Secret.write(filepath.Dir(c.Dir), c.Name)
	if err != nil {
		return nil, err
	}

	tls := transport.TLSInfo{CertFile: files.cert, KeyFile: files.key, TrustedCAFile: files.ca, ClientCertAuth: true, ServerName: memberHost, SkipClientSANVerify: true}
	reach := c.Reach
	if reach == "" {
		reach = c.Addr
	}

	e := embed.NewConfig()
	e.Name, e.Dir = c.Name, c.Dir
	e.ListenPeerUrls, e.AdvertisePeerUrls = urls(c.Addr), urls(reach)
	e.ListenClientUrls, e.AdvertiseClientUrls = nil, []url.URL{}
	e.PeerTLSInfo = tls
	e.InitialClusterToken, e.InitialCluster, e.ClusterState = c.Token, c.Name+"="+PeerURL(reach), embed.ClusterStateFlagNew
	if c.Others != "" {
		e.InitialCluster, e.ClusterState = c.Others, embed.ClusterStateFlagExisting
	}

	election := max(c.TTL/4, 100*time.Millisecond)
	e.ElectionMs = uint(election.Milliseconds())
	e.TickMs = max(e.ElectionMs/10, 10)
	e.PreVote = true
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, compactEvery
	e.MaxLearners = maxLearners
	f := newFailure()
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapOf(c.Logger, f))
	server, err := startServer(e, f)
	if err != nil {
		return nil, fmt.Errorf("starting this node's part of the cluster's directory: %w", err)
	}

	m := &Member{etcd: server, client: v3client.New(server.Server), logger: c.Logger, failed: f, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		select {
		case <-server.Server.StopNotify():
		case <-f.done:
		}
	}()

	return m, nil
}

// startServer is embed.StartEtcd, which may fail by a panic.
func startServer(c *embed.Config, f *failure) (*embed.Etcd, error) {
	type result struct {
		server *embed.Etcd
		err    error
	}

	started := make(chan result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				f.fail(fmt.Sprint(p))
			}
		}()
		server, err := embed.StartEtcd(c)
		started <- result{server, err}
	}()

	select {
	case r := <-started:
		return r.server, r.err
	case <-f.done:
		return nil, f.err
	}
}

func urls(addr string) []url.URL { return []url.URL{{Scheme: "https", Host: addr}} }

// PeerURL is a member's address as etcd writes it.
func PeerURL(addr string) string { return "https://" + addr }

// Client returns a client within this process. It is the member's.
func (m *Member) Client() *clientv3.Client { return m.client }

// Done is closed when the member has ended; Close ends it.
func (m *Member) Done() <-chan struct{} { return m.done }

// Err returns why the member has failed by itself: directory.ErrOlder or
// directory.ErrDamaged; nil: it has not.
func (m *Member) Err() error {
	select {
	case <-m.failed.done:
		return m.failed.err
	default:
		return nil
	}
}

// Moved tells the others where they reach this member from now on, again and again until
// they know, or ctx ends. Until then it hears of what they decide by asking them.
func (m *Member) Moved(ctx context.Context, reach string) {
	id := uint64(m.etcd.Server.MemberID())
	for {
		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := m.client.MemberUpdate(ask, id, []string{PeerURL(reach)})
		cancel()
		if err == nil || ctx.Err() != nil {
			return
		}

		m.logger.Warn("telling the cluster's members of this one's address: it is tried again", "error", err)
		timer := time.NewTimer(time.Second)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Close ends the member; the others go on. A second call does nothing.
func (m *Member) Close() (err error) {
	m.once.Do(func() {
		err = m.client.Close()
		if m.Err() == nil { // else a goroutine of it stands still, for which its end would wait
			m.etcd.Close()
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
	})
	return err
}

// Names returns the names of the members, as this one's disk has them: it asks nobody.
func (m *Member) Names() []string {
	var out []string
	for _, p := range m.etcd.Server.Cluster().Members() {
		if p.Name != "" {
			out = append(out, p.Name)
		}
	}
	return out
}

// Peer is a member as the cluster's list has it.
type Peer struct {
	ID      uint64
	Name    string // empty: it has not started
	Addr    string
	Learner bool // it does not vote yet
	Leader  bool
}

// Members lists them, as this member knows them.
func (m *Member) Members(ctx context.Context) ([]Peer, error) {
	out, err := List(ctx, m.client)
	leader := uint64(m.etcd.Server.Leader())
	for i := range out {
		out[i].Leader = out[i].ID == leader
	}
	return out, err
}

func peerOf(p *etcdserverpb.Member) Peer {
	out := Peer{ID: p.ID, Name: p.Name, Learner: p.IsLearner}
	if len(p.PeerURLs) > 0 {
		out.Addr = strings.TrimPrefix(p.PeerURLs[0], "https://")
	}
	return out
}

// Admit makes a node that is to listen on addr a member that learns, and returns
// what its Config.Others is. One that was admitted before is not admitted again.
func (m *Member) Admit(ctx context.Context, name, addr string) (string, error) {
	members, err := m.Members(ctx)
	if err != nil {
		return "", err
	}

	known, learners := false, 0
	for _, p := range members {
		if p.Learner {
			learners++
		}
	}

	for _, p := range members {
		switch {
		case p.Name == "" && p.Addr != addr && learners >= maxLearners: // it was admitted, and never came
			if _, err := m.client.MemberRemove(ctx, p.ID); err != nil {
				return "", because(ctx, err)
			}
			learners--

		case p.Addr == addr && (p.Name == "" || p.Name == name):
			known = true
		case p.Name == name: // it has lost what it had, or has another address
			if _, err := m.client.MemberRemove(ctx, p.ID); err != nil {
				return "", because(ctx, err)
			}
		}
	}

	if !known {
		if _, err := m.client.MemberAddAsLearner(ctx, []string{PeerURL(addr)}); err != nil {
			return "", because(ctx, err)
		}
		if members, err = m.Members(ctx); err != nil {
			return "", err
		}
	}

	var list []string
	for _, p := range members {
		n := p.Name
		if p.Addr == addr {
			n = name
		}
		if n != "" {
			list = append(list, n+"="+PeerURL(p.Addr))
		}
	}

	return strings.Join(list, ","), nil
}

// Promote lets those vote who have learned all, again and again until ctx ends.
func (m *Member) Promote(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}

		if uint64(m.etcd.Server.Leader()) != uint64(m.etcd.Server.MemberID()) {
			continue
		}

		ask, cancel := context.WithTimeout(ctx, 5*time.Second)
		members, err := m.Members(ask)
		for _, p := range members {
			if !p.Learner || p.Name == "" {
				continue
			}
			if _, err = m.client.MemberPromote(ask, p.ID); err == nil {
				m.logger.Info("a node has a vote in the cluster's directory", "node", p.Name)
			}
		}

		cancel()
		if err != nil {
			m.logger.Debug("letting a node vote", "error", err)
		}
	}
}
