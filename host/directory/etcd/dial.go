package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// DialConfig says where an etcd is, and who asks.
type DialConfig struct {
	Endpoints []string // URLs
	CAFile    string   // PEM; empty: the machine's
	CertFile  string   // PEM; with KeyFile: who asks
	KeyFile   string
	User      string
	Password  string
	Logger    *slog.Logger
}

// ErrBadEndpoint says that a text is no address of an etcd.
var ErrBadEndpoint = errors.New("not an address of an etcd: give http://HOST:PORT or https://HOST:PORT")

// Dial makes a client of an etcd that is not the nodes' own. Whether it is there is
// not asked. The caller closes the client.
func Dial(c DialConfig) (*clientv3.Client, error) {
	secure := false
	for _, e := range c.Endpoints {
		rest, https := strings.CutPrefix(e, "https://")
		if !https {
			var http bool
			if rest, http = strings.CutPrefix(e, "http://"); !http {
				return nil, fmt.Errorf("%w, not %q", ErrBadEndpoint, e)
			}
		}

		if _, _, err := net.SplitHostPort(strings.TrimSuffix(rest, "/")); err != nil {
			return nil, fmt.Errorf("%w, not %q", ErrBadEndpoint, e)
		}

		secure = secure || https
	}

	config := clientConfig(c.Endpoints, c.Logger)
	config.Username, config.Password = c.User, c.Password
	if secure || c.CAFile != "" || c.CertFile != "" {
		config.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}

	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading whom to trust as etcd: %w", err)
		}
		if config.TLS.RootCAs = x509.NewCertPool(); !config.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading whom to trust as etcd: %s holds no certificate", c.CAFile)
		}
	}

	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading this node's certificate for etcd: %w", err)
		}
		config.TLS.Certificates = []tls.Certificate{pair}
	}

	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("asking etcd: %w", err)
	}
	return client, nil
}

func clientConfig(endpoints []string, l *slog.Logger) clientv3.Config {
	return clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		PermitWithoutStream: true, RejectOldCluster: false, Logger: zapTo(l)}
}

// List lists the members, as who answers knows them.
func List(ctx context.Context, c *clientv3.Client) ([]Peer, error) {
	res, err := c.MemberList(ctx)
	if err != nil {
		return nil, because(ctx, err)
	}

	out := make([]Peer, len(res.Members))
	for i, p := range res.Members {
		out[i] = peerOf(p)
	}
	return out, nil
}

// Remove takes a node out of the members, by its name. One that is none is no
// error.
func Remove(ctx context.Context, c *clientv3.Client, name string) error {
	members, err := List(ctx, c)
	if err != nil {
		return err
	}

	for _, p := range members {
		if p.Name != name {
			continue
		}
		if _, err := c.MemberRemove(ctx, p.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
			return because(ctx, err)
		}
	}

	return nil
}
