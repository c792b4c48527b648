package serve

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

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/identity"
	"wasmhost.example/node"
)

// runAgain runs the node, and again where it ends for another part in its cluster.
func runAgain(a *cli.App, ctx context.Context, o ServeOptions) error {
	for {
		err := ServeNode(a, ctx, o)
		var restart *node.RestartError
		if !errors.As(err, &restart) {
			return err
		}
		o.Node.Join = "" // the token was good once
		o.Node.Listen = restart.Addr
	}
}

// ServeNode runs a node until ctx ends, or it ends by itself.
func ServeNode(a *cli.App, ctx context.Context, o ServeOptions) (err error) {
	a.Grace.Set(cli.ServeGrace)
	logs, err := newLogging(a.Err, o.Levels, o.Form)
	if err != nil {
		return err
	}

	logger := logs.of("node")
	slog.SetDefault(logger) // for libraries that log by themselves, by package log too

	traces := &tracing{}
	defer func() { err = errors.Join(err, traces.close()) }()
	o.Node.Logger, o.Node.Version = logs.logger(), a.Version
	o.Node.Tracer = func(id identity.NodeID) (_ trace.Tracer, err error) {
		if traces, err = newTracing(o.otlp, o.otlpSample, a.Version, id, logger); err != nil {
			traces = &tracing{}
		}
		return traces.tracer(), err
	}

	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP) // before the node is there: it does not end by one
	defer close(hangUps)
	defer signal.Stop(hangUps)
	n, err := node.Open(ctx, o.Node)
	if errors.Is(err, node.ErrNoClusterEngine) {
		return cli.Usagef("--cluster and --etcd: %v", err)
	}
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, n.Close()) }()
	conf := newReloader(o, n, logs)
	go conf.reloadAt(hangUps)

	if o.Ready == nil {
		o.Ready = func(n *node.Node) error { return announce(a, n) }
	}

	if err := o.Ready(n); err != nil {
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

	a.Grace.Ending.Store(true)
	err = conf.drainOptions().run(n, logger)
	logger.Info("shutting down")
	if stopErr := notify("STOPPING=1"); stopErr != nil {
		logger.Warn("stopping", "error", stopErr)
	}

	return err
}

// announce prints the line that scripts wait for.
func announce(a *cli.App, n *node.Node) error {
	socket, err := filepath.Abs(a.Target.Socket)
	if err != nil {
		return err
	}

	at := n.Addrs()
	return json.NewEncoder(a.Out).Encode(struct {
		NodeID string `json:"node_id"`
		Addr   string `json:"addr"`
		Socket string `json:"socket"`
		PID    int    `json:"pid"`

		API     string `json:"api,omitempty"`
		Metrics string `json:"metrics,omitempty"`
		Pprof   string `json:"pprof,omitempty"`
	}{n.ID().String(), at.Mesh, socket, os.Getpid(), at.API, at.Metrics, at.Pprof})
}
