package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wasmhost/host"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/wire"
	"wasmhost/wire/control"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	data, listen, join, name, level string
	ephemeral, noFetch              bool
}

func (a *app) serve() *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node until SIGTERM or SIGINT: it then takes no more events, stores every
daemon's state and ends; a second signal ends it at once. When the node is ready
it prints one line of JSON: {"node_id","addr","socket","pid"}.`,
		Args: exact(0),
		RunE: func(c *cobra.Command, _ []string) error { return a.runNode(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", env("WASMHOST_DATA", ""), "data directory (WASMHOST_DATA; default "+defaultData()+")")
	f.StringVar(&o.listen, "listen", env("WASMHOST_LISTEN", "127.0.0.1:7433"), "UDP address for other nodes (WASMHOST_LISTEN)")
	f.StringVar(&o.join, "join", env("WASMHOST_JOIN", ""), "join the node that printed this token (WASMHOST_JOIN)")
	f.StringVar(&o.name, "name", env("WASMHOST_NAME", hostname()), "the node's name (WASMHOST_NAME)")
	f.StringVar(&o.level, "log-level", env("WASMHOST_LOG_LEVEL", "info"), "debug, info, warn or error (WASMHOST_LOG_LEVEL)")
	f.BoolVar(&o.ephemeral, "ephemeral", false, "keep everything in memory")
	f.BoolVar(&o.noFetch, "no-module-fetch", false, "take no module from another node")
	return c
}

func env(name, def string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return def
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// runNode composes a node and runs it.
func (a *app) runNode(ctx context.Context, o serveOptions) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return usagef("--log-level %q is none of debug, info, warn and error", o.level)
	}
	if o.ephemeral && o.data != "" {
		return usagef("give either --data or --ephemeral")
	}
	if o.data == "" {
		o.data = defaultData()
	}
	logger := slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level}))
	s, err := store.Open(store.Options{Dir: o.data, Ephemeral: o.ephemeral, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	key, err := nodeKey(o)
	if err != nil {
		return err
	}
	trust, err := wire.Trust(s)
	if err != nil {
		return err
	}
	mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Name: o.name, Addr: o.listen, Trust: trust, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mesh.Close()) }()
	options := host.Options{Node: key, Store: s, Mesh: mesh, Logger: logger, RefuseModules: o.noFetch}
	if !o.ephemeral {
		options.CacheDir = filepath.Join(o.data, "cache")
	}
	rt, err := host.New(ctx, options)
	if err != nil {
		return err
	}
	listener, err := control.ListenSocket(a.socketPath())
	if err != nil {
		return errors.Join(err, rt.Shutdown(ctx))
	}
	node := wire.NewNode(mesh, rt)
	server := &http.Server{Handler: control.NewServer(rt, mesh, node, buildVersion(), logger), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err = rt.Start(ctx); err == nil && o.join != "" {
		_, err = mesh.Join(ctx, o.join)
	}
	if err == nil {
		err = a.announce(mesh)
	}
	if err == nil {
		select {
		case <-ctx.Done():
			logger.Info("shutting down")
		case err = <-served:
		}
	}
	return errors.Join(err, shutDown(rt, server))
}

// announce prints the line that scripts wait for.
func (a *app) announce(m *wire.Mesh) error {
	socket, err := filepath.Abs(a.socketPath())
	if err != nil {
		return err
	}
	return json.NewEncoder(a.out).Encode(struct {
		NodeID string `json:"node_id"`
		Addr   string `json:"addr"`
		Socket string `json:"socket"`
		PID    int    `json:"pid"`
	}{m.Self().String(), m.Addr().String(), socket, os.Getpid()})
}

// shutDown ends the node within a few seconds; a signal meanwhile ends it at
// once.
func shutDown(rt *host.Runtime, server *http.Server) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(again)
	go func() {
		if _, ok := <-again; ok {
			os.Exit(control.ExitInterrupted)
		}
	}()
	defer close(again)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	err := rt.Shutdown(ctx)
	soon, cancelSoon := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancelSoon()
	if closeErr := server.Shutdown(soon); closeErr != nil { // followers of logs and tails are cut
		closeErr = server.Close()
		if closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return err
}

// nodeKey reads the node's key, or makes it at the first start.
func nodeKey(o serveOptions) (*identity.KeyPair, error) {
	if o.ephemeral {
		return identity.Generate()
	}
	path := filepath.Join(o.data, "node.key")
	key, err := identity.ReadKeyFile(path, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = identity.Generate(); err != nil {
		return nil, err
	}
	if err := identity.WriteKeyFile(path, key, nil); err != nil {
		return nil, fmt.Errorf("making the node's key: %w", err)
	}
	return key, nil
}
