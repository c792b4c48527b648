package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"wasmhost.example/host/daemon"
)

// gated is a native daemon whose events take until the gate opens. It sends to began as
// the first begins.
type gated struct {
	gate  <-chan struct{}
	began chan<- struct{} // of 1
}

func (*gated) Name() string                          { return "gated" }
func (*gated) Requirements() (r daemon.Requirements) { return }
func (*gated) Snapshot(*daemon.Call) ([]byte, error) { return []byte{}, nil }
func (*gated) Restore(*daemon.Call, []byte) error    { return nil }
func (g *gated) Process(*daemon.Call, []byte) ([][]byte, error) {
	select {
	case g.began <- struct{}{}:
	default:
	}
	<-g.gate
	return [][]byte{[]byte("done")}, nil
}

// A client that closes its side of the connection once it has sent its request gets the
// answer: of one event, of a stream of them, and of what else takes its time.
func TestHalfClosedClientsAreAnswered(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for name, request := range map[string]string{
			"event":  "POST /v1/daemons/g/events?id=order-7 HTTP/1.1\r\nHost: n\r\nContent-Length: 3\r\n\r\npay",
			"chunks": "POST /v1/daemons/g/events HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npay\r\n0\r\n\r\n",
			"stream": "POST /v1/daemons/g/stream HTTP/1.1\r\nHost: n\r\nContent-Length: 7\r\n\r\n\x00\x00\x00\x03pay",
			"stop":   "DELETE /v1/daemons/g HTTP/1.1\r\nHost: n\r\n\r\n",
		} {
			t.Run(network+" "+name, func(t *testing.T) {
				gate, began := make(chan struct{}), make(chan struct{}, 1)
				s := serve(t, "a")
				err := s.rt.RegisterFactory("gated", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &gated{gate, began}, nil }))
				if err != nil {
					t.Fatal(err)
				}
				g := must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "gated", Name: "g"}))
				if name == "stop" { // it waits for the event that is being processed
					busy := make(chan error, 1)
					go func() {
						_, err := s.rt.Deliver(ctx, g.Entity, daemon.Event{Payload: []byte("first")})
						busy <- err
					}()
					<-began
					defer func() {
						if err := <-busy; err != nil {
							t.Error(err)
						}
					}()
				}
				seen := make(chan struct{}) // closed when net/http takes the client for gone
				l := listenFor(t, network, s.server, seen)
				c := must[net.Conn](t)(net.Dial(network, l.Addr().String()))
				defer c.Close()
				if _, err := io.WriteString(c, request); err != nil {
					t.Fatal(err)
				}
				if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				<-seen
				close(gate)
				res := must[*http.Response](t)(http.ReadResponse(bufio.NewReader(c), nil))
				body := string(must[[]byte](t)(io.ReadAll(res.Body)))
				want := "done"
				if name == "stop" {
					want = `"removed"`
				}
				if res.StatusCode != 200 || !strings.Contains(body, want) {
					t.Errorf("%s %s, want 200 and %s", res.Status, body, want)
				}
			})
		}
	}
}

// listenFor serves h, and closes seen when a request's context has ended.
func listenFor(t *testing.T, network string, h http.Handler, seen chan struct{}) net.Listener {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	l := must[net.Listener](t)(net.Listen(network, addr))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(seen) })
		h.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return l
}
