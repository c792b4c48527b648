package main

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"os"
	"os/exec"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// What others do for the same work: count events, and answer each with the count.

// native is the counter as Go code within the host.
type native struct{ count int }

func (*native) Name() string                          { return "counter" }
func (*native) Requirements() daemon.Requirements     { return daemon.Requirements{} }
func (*native) Snapshot(*daemon.Call) ([]byte, error) { return nil, daemon.ErrNotPortable }
func (*native) Restore(*daemon.Call, []byte) error    { return daemon.ErrNotPortable }
func (n *native) Process(*daemon.Call, []byte) ([][]byte, error) {
	n.count++
	return [][]byte{fmt.Append(nil, n.count)}, nil
}

func nativeDeliver(payload []byte) (func(int) error, func() error, error) {
	r, err := host.New(ctx, host.Options{})
	if err == nil {
		err = r.Start(ctx)
	}
	if err != nil {
		return nil, nil, err
	}
	d, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "native"}, &native{})
	if err != nil {
		return nil, nil, err
	}
	c := counted{}
	return c.run(func() (string, error) {
		res, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: payload})
		if err != nil {
			return "", err
		}
		return string(res.Outputs[0].Payload), nil
	}), func() error { return r.Shutdown(ctx) }, nil
}

// counted calls a counter, and checks the last answer of each run.
type counted struct{ total int }

func (c *counted) run(call func() (string, error)) func(int) error {
	return func(n int) error {
		last := ""
		for range n {
			var err error
			if last, err = call(); err != nil {
				return err
			}
		}
		c.total += n
		if last != fmt.Sprint(c.total) {
			return fmt.Errorf("the count is %s, want %d", last, c.total)
		}
		return nil
	}
}

// counterActor is the counter as an actor of protoactor-go.
type counterActor struct{ count int }

func (a *counterActor) Receive(c actor.Context) {
	if _, ok := c.Message().([]byte); ok {
		a.count++
		c.Respond(fmt.Sprint(a.count))
	}
}

// newActors is an actor system that logs nothing.
func newActors() *actor.ActorSystem {
	return actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
}

func actorProps() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &counterActor{} })
}

func actorCall(payload []byte) (func(int) error, func() error, error) {
	system := newActors()
	pid := system.Root.Spawn(actorProps())
	c := counted{}
	return c.run(func() (string, error) {
			res, err := system.Root.RequestFuture(pid, payload, 5*time.Second).Result()
			if err != nil {
				return "", err
			}
			text, _ := res.(string)
			return text, nil
		}), func() error {
			system.Shutdown()
			return nil
		}, nil
}

// counterPlugin is the counter as a process of hashicorp/go-plugin, over net/rpc.
type counterPlugin struct{}

type counterServer struct{ count int }

func (s *counterServer) Count(_ []byte, answer *string) error {
	s.count++
	*answer = fmt.Sprint(s.count)
	return nil
}

func (counterPlugin) Server(*plugin.MuxBroker) (any, error)                  { return &counterServer{}, nil }
func (counterPlugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }

var pluginHandshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "WASMHOST_BENCH_PLUGIN", MagicCookieValue: "counter"}

// servePlugin is the process of a plugin: this program, started by startPlugin.
func servePlugin() {
	gob.Register([]byte{})
	plugin.Serve(&plugin.ServeConfig{HandshakeConfig: pluginHandshake, Plugins: plugin.PluginSet{"counter": counterPlugin{}}, Logger: hclog.NewNullLogger()})
}

func startPlugin() (*plugin.Client, *rpc.Client, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	c := plugin.NewClient(&plugin.ClientConfig{HandshakeConfig: pluginHandshake, Plugins: plugin.PluginSet{"counter": counterPlugin{}},
		Cmd: exec.Command(exe, "-plugin"), Logger: hclog.New(&hclog.LoggerOptions{Output: io.Discard})})
	p, err := c.Client()
	if err != nil {
		c.Kill()
		return nil, nil, err
	}
	raw, err := p.Dispense("counter")
	if err != nil {
		c.Kill()
		return nil, nil, err
	}
	conn, ok := raw.(*rpc.Client)
	if !ok {
		c.Kill()
		return nil, nil, errors.New("go-plugin gave no net/rpc client")
	}
	return c, conn, nil
}

func pluginCall(payload []byte) (func(int) error, func() error, error) {
	c, conn, err := startPlugin()
	if err != nil {
		return nil, nil, err
	}
	count := counted{}
	return count.run(func() (string, error) {
			var answer string
			err := conn.Call("Plugin.Count", payload, &answer)
			return answer, err
		}), func() error {
			c.Kill()
			return nil
		}, nil
}
