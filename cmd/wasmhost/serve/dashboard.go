package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api/server/gate"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Dashboard is the command dashboard.
func Dashboard(a *cli.App) *cobra.Command {
	var listen string
	var readOnly bool
	c := &cobra.Command{
		Use:   "dashboard",
		Short: "Look at the node, and at those that it trusts, in a browser",
		Long: `Let a browser of this machine look at the node: its peers, kinds and daemons, how
many events they take, migrations as they happen, and of each daemon its chain,
log and receipts; and move daemons. The browser does so with the rights that this
command has, by --socket or by --url; with --read-only it can change nothing.

The address that is printed is good once, for 15 minutes; when it has been used
another is printed. Only this machine can reach it, and no other page in the browser.
It goes on until Ctrl-C. For a node elsewhere use --url with a token, or forward the
port by SSH and give it with --listen, which must be the same on both sides.`,
		Example: `  wasmhost dashboard
  wasmhost dashboard --read-only
  wasmhost dashboard --listen 127.0.0.1:7480 --url https://node:7444 --token-file ops.token`,
		Args: cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error { return runDashboard(a, c.Context(), listen, readOnly) },
	}

	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "loopback address to listen on; port 0: any that is free")
	c.Flags().BoolVar(&readOnly, "read-only", false, "let the browser change nothing")
	return c
}

// runDashboard serves the browser until ctx ends.
func runDashboard(a *cli.App, ctx context.Context, listen string, readOnly bool) error {
	if listen = localByDefault(listen); !isLoopback(listen) {
		return cli.Usagef("--listen %s: give a loopback address, such as 127.0.0.1:7480: what comes here has your rights", listen)
	}

	client := a.Client()
	node, err := client.Node().Get(ctx)
	if err != nil {
		return err
	}

	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening for the dashboard: %w", err)
	}

	used := make(chan struct{}, 1)
	gate, err := gate.New(client, l.Addr().String(), gate.Options{ReadOnly: readOnly, Entered: func() {
		select {
		case used <- struct{}{}:
		default: // another link is on its way
		}
	}})
	if err != nil {
		return errors.Join(err, l.Close())
	}

	server := &http.Server{Handler: gate, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Fprintf(a.Err, "node %s (%s); open in a browser of this machine, Ctrl-C ends it:\n", node.NodeID, node.Name)

	for {
		if err := printLink(a, gate.Link()); err != nil {
			return errors.Join(err, server.Close())
		}
		select {
		case <-used:
			fmt.Fprintln(a.Err, "a browser came in; for another:")
		case <-ctx.Done():
			return server.Close() // it was asked to end: that is no failure
		case err := <-served:
			return fmt.Errorf("serving the dashboard: %w", err)
		}
	}
}

func printLink(a *cli.App, link string) error {
	return a.Print(map[string]string{"url": link}, func(w io.Writer) { fmt.Fprintln(w, link) }, func() string { return link })
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
