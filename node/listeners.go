package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"wasmhost.example/api/server"
)

// listeners are what a node listens on by TCP: only where it is told to.
type listeners struct {
	servers []*http.Server
	addrs   map[string]string // by what for
	cert    *certificate      // nil: no API over TCP
	audit   *auditFile        // nil: the log has it
	failed  chan<- error
	logger  *slog.Logger
}

// openListeners opens what the configuration names. What fails later goes to failed.
func openListeners(ctx context.Context, c *Config, s *server.Server, metrics http.Handler, failed chan<- error) (_ *listeners, err error) {
	l := &listeners{failed: failed, addrs: make(map[string]string), logger: c.logger("node")}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()

	s.SetAudit(c.logger("audit"))
	if c.AuditLog != "" {
		if l.audit, err = openAudit(c.AuditLog); err != nil {
			return nil, err
		}
		s.SetAudit(slog.New(slog.NewJSONHandler(l.audit, nil)))
	}

	if c.Metrics != "" {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", metrics)
		for _, path := range []string{"GET /healthz", "GET /readyz"} {
			mux.Handle(path, s)
		}

		if err := l.listen(ctx, "metrics", localByDefault(c.Metrics), server.TimeBodies(mux), nil); err != nil {
			return nil, err
		}
	}

	if c.Pprof != "" {
		mux := http.NewServeMux()
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		if err := l.listen(ctx, "pprof", localByDefault(c.Pprof), server.TimeBodies(mux), nil); err != nil {
			return nil, err
		}
	}

	if c.API != "" {
		if l.cert, err = openCertificate(c.APICert, c.APIKey, c.API, c.Dir); err != nil {
			return nil, err
		}
		config := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: l.cert.get}
		if err := l.listen(ctx, "api", localByDefault(c.API), s.TCP(), config); err != nil {
			return nil, err
		}
	}

	return l, nil
}

func (l *listeners) listen(ctx context.Context, what, addr string, h http.Handler, config *tls.Config) error {
	var lc net.ListenConfig
	at, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for --%s: %w", what, err)
	}

	s := newHTTPServer(h, 2*time.Minute, l.logger)
	s.TLSConfig = config
	l.servers = append(l.servers, s)
	l.addrs[what] = at.Addr().String()
	l.logger.Info("listening", "for", what, "addr", at.Addr().String())
	go func() {
		var err error
		if config != nil {
			err = s.ServeTLS(at, "", "")
		} else {
			err = s.Serve(at)
		}

		if !errors.Is(err, http.ErrServerClosed) {
			l.failed <- fmt.Errorf("serving --%s: %w", what, err)
		}
	}()

	return nil
}

// reload reads the certificate and opens the audit log again. What cannot be read leaves
// what was.
func (l *listeners) reload() (err error) {
	if l.cert != nil {
		err = l.cert.load()
	}
	if l.audit != nil {
		err = errors.Join(err, l.audit.reopen())
	}
	return err
}

// close cuts what is still being answered.
func (l *listeners) close() error {
	for _, s := range l.servers {
		if err := s.Close(); err != nil {
			l.logger.Debug("closing a listener", "error", err)
		}
	}

	if l.audit == nil {
		return nil
	}
	return l.audit.Close()
}

// newHTTPServer makes a server whose clients cannot hold its connections for nothing.
func newHTTPServer(h http.Handler, idle time.Duration, logger *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idle, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
}
