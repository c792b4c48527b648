package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"wasmhost.example/api/server"
	"wasmhost.example/host/store"
)

// What a node listens on beside its socket and its UDP port: only where it is
// told to.

// listenerOptions are the flags of serve for it.
type listenerOptions struct {
	metrics, pprof         string
	api, apiCert, apiKey   string
	auditLog, levels, form string
	otlp, otlpSample       string
}

// extra are the further listeners of a node.
type extra struct {
	servers []*http.Server
	addrs   map[string]string // by what for
	failed  chan error
	cert    *certificate // nil: no API over TCP
	audit   *auditFile   // nil: the log has it
	hup     chan os.Signal
	logger  *slog.Logger
}

// onHangUp reads settings, certificate and audit log again at each SIGHUP.
func (x *extra) onHangUp(conf *reloader) {
	signal.Notify(x.hup, syscall.SIGHUP)
	go x.reload(conf)
}

// reload reads again whenever it is told to. What cannot be read leaves what was.
func (x *extra) reload(conf *reloader) {
	for range x.hup {
		err := conf.reload()
		if x.cert != nil {
			err = errors.Join(err, x.cert.load())
		}
		if x.audit != nil {
			err = errors.Join(err, x.audit.reopen())
		}
		if err != nil {
			x.logger.Error("reloading", "error", err)
			continue
		}
		x.logger.Info("reloaded", "certificate", x.cert != nil, "audit log", x.audit != nil)
	}
}

// openListeners opens what the options name.
func (a *app) openListeners(ctx context.Context, o serveOptions, s *store.Store, api *server.Server, metrics http.Handler, logs *logging) (_ *extra, err error) {
	x := &extra{failed: make(chan error, 3), addrs: make(map[string]string), logger: logs.of("node"), hup: make(chan os.Signal, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, x.close())
		}
	}()
	if err := api.LoadTokens(s); err != nil {
		return nil, err
	}
	api.SetAudit(logs.of("audit"))
	if o.auditLog != "" {
		if x.audit, err = openAudit(o.auditLog); err != nil {
			return nil, err
		}
		api.SetAudit(slog.New(slog.NewJSONHandler(x.audit, nil)))
	}
	data := o.data
	if o.ephemeral {
		data = ""
	}
	if o.metrics != "" {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics)
		for _, path := range []string{"GET /healthz", "GET /readyz"} {
			mux.Handle(path, api)
		}
		if err := x.listen(ctx, "metrics", localByDefault(o.metrics), server.TimeBodies(mux), nil); err != nil {
			return nil, err
		}
	}
	if o.pprof != "" {
		addr := localByDefault(o.pprof)
		if !isLoopback(addr) {
			return nil, usagef("--pprof %s: profiles show what is in memory: give a loopback address, such as 127.0.0.1:6060", o.pprof)
		}
		mux := http.NewServeMux()
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		if err := x.listen(ctx, "pprof", addr, server.TimeBodies(mux), nil); err != nil {
			return nil, err
		}
	}
	if o.api != "" {
		if x.cert, err = openCertificate(o.listenerOptions, data); err != nil {
			return nil, err
		}
		config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: x.cert.get}
		if err := x.listen(ctx, "api", localByDefault(o.api), api.TCP(), config); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *extra) listen(ctx context.Context, what, addr string, h http.Handler, config *tls.Config) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for --%s: %w", what, err)
	}
	s := &http.Server{Handler: h, TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(x.logger.Handler(), slog.LevelDebug)}
	x.servers = append(x.servers, s)
	x.addrs[what] = l.Addr().String()
	x.logger.Info("listening", "for", what, "addr", l.Addr().String())
	go func() {
		var err error
		if config != nil {
			err = s.ServeTLS(l, "", "")
		} else {
			err = s.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			x.failed <- fmt.Errorf("serving --%s: %w", what, err)
		}
	}()
	return nil
}

// close cuts what is still being answered.
func (x *extra) close() (err error) {
	signal.Stop(x.hup)
	close(x.hup)
	for _, s := range x.servers {
		if closeErr := s.Close(); closeErr != nil {
			x.logger.Debug("closing a listener", "error", closeErr)
		}
	}
	if x.audit != nil {
		err = x.audit.Close()
	}
	return err
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

// certificate is the one of the API, which can be loaded again.
type certificate struct {
	cert, key string // files
	now       atomic.Pointer[tls.Certificate]
}

// openCertificate loads the files of the options; without any, those in the data
// directory, which it makes where they are not there.
func openCertificate(o listenerOptions, data string) (*certificate, error) {
	c := &certificate{cert: o.apiCert, key: o.apiKey}
	if (c.cert == "") != (c.key == "") {
		return nil, usagef("give both --api-cert and --api-key, or neither")
	}
	if c.cert == "" {
		if data == "" {
			return nil, usagef("an ephemeral node has nowhere to keep a certificate of its own: give --api-cert and --api-key")
		}
		c.cert, c.key = filepath.Join(data, "api.crt"), filepath.Join(data, "api.key")
		if _, err := os.Stat(c.cert); errors.Is(err, fs.ErrNotExist) {
			if err := makeCertificate(c.cert, c.key, o.api); err != nil {
				return nil, fmt.Errorf("making the API's certificate: %w", err)
			}
		}
	}
	return c, c.load()
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("loading the API's certificate %s: %w", c.cert, err)
	}
	c.now.Store(&pair)
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil }

// makeCertificate writes a certificate that signs itself, for this machine's
// names and the address: callers trust it by a copy of the file (--ca-file).
func makeCertificate(certFile, keyFile, addr string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "wasmhost control API"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}}
	if name := hostname(); name != "" {
		t.DNSNames = append(t.DNSNames, name)
	}
	if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
		if ip := net.ParseIP(host); ip == nil {
			t.DNSNames = append(t.DNSNames, host)
		} else if !ip.IsUnspecified() {
			t.IPAddresses = append(t.IPAddresses, ip)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}
