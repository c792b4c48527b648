package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/identity"
	"wasmhost.example/node"
)

// runAgain runs the node, and again where it ends for another part in its cluster.
func runAgain(a *App, ctx context.Context, o serveOptions) error {
	for {
		err := serveNode(a, ctx, o)
		var restart *node.RestartError
		if !errors.As(err, &restart) {
			return err
		}
		o.node.Join = "" // the token was good once
		o.node.Listen = restart.Addr
	}
}

// serveNode runs a node until ctx ends, or it ends by itself.
func serveNode(a *App, ctx context.Context, o serveOptions) (err error) {
	a.grace.set(serveGrace)
	logs, err := newLogging(a.err, o.levels, o.form)
	if err != nil {
		return err
	}
	logger := logs.of("node")
	slog.SetDefault(logger) // for libraries that log by themselves, by package log too

	traces := &tracing{}
	defer func() { err = errors.Join(err, traces.close()) }()
	o.node.Logger, o.node.Version = logs.logger(), a.version
	o.node.Tracer = func(id identity.NodeID) (_ trace.Tracer, err error) {
		if traces, err = newTracing(o.otlp, o.otlpSample, a.version, id, logger); err != nil {
			traces = &tracing{}
		}
		return traces.tracer(), err
	}

	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // before the node is there: it does not end by one
	defer close(hangUps)
	defer signal.Stop(hangUps)
	n, err := node.Open(ctx, o.node)
	if errors.Is(err, node.ErrNoClusterEngine) {
		return usagef("--cluster and --etcd: %v", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	conf := newReloader(o, n, logs)
	go conf.reloadAt(hangUps)

	if o.ready == nil {
		o.ready = func(n *node.Node) error { return announce(a, n) }
	}
	if err := o.ready(n); err != nil {
		return err
	}
	if err := notify("READY=1"); err != nil {
		return err
	}

	select {
	case <-n.Done():
		return n.Err()
	case <-ctx.Done():
	}
	a.grace.ending.Store(true)
	err = conf.drainOptions().run(n, logger)
	logger.Info("shutting down")
	if stopErr := notify("STOPPING=1"); stopErr != nil {
		logger.Warn("stopping", "error", stopErr)
	}
	return err
}

// announce prints the line that scripts wait for.
func announce(a *App, n *node.Node) error {
	socket, err := filepath.Abs(a.target.Socket)
	if err != nil {
		return err
	}
	at := n.Addrs()
	return json.NewEncoder(a.out).Encode(struct {
		NodeID string `json:"node_id"`
		Addr   string `json:"addr"`
		Socket string `json:"socket"`
		PID    int    `json:"pid"`

		API     string `json:"api,omitempty"`
		Metrics string `json:"metrics,omitempty"`
		Pprof   string `json:"pprof,omitempty"`
	}{n.ID().String(), at.Mesh, socket, os.Getpid(), at.API, at.Metrics, at.Pprof})
}
