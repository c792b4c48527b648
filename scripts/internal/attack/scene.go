package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// scene is the nodes that an attack runs against. On the first are the light daemon,
// whose users must not notice, and the bystander, a daemon that must not change.
type scene struct {
	dir   string
	nodes []*node
}

// node is a process, and plain HTTP on its control socket.
type node struct {
	*fleet.Node
	http *http.Client
	sock string
}

// names of the nodes, in order.
var names = []string{"one", "two", "three"}

func (s *scene) start(ctx context.Context, bin string, a *attack) error {
	for i := range max(a.nodes, 1) {
		addr, err := fleet.FreeAddr()
		if err != nil {
			return err
		}
		n := &node{Node: fleet.NewNode(s.dir, names[i], addr, bin), sock: filepath.Join(s.dir, names[i]+".sock")}
		n.Args = a.args
		n.http = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", n.sock)
		}}}
		if i > 0 {
			rights := a.rights
			if rights == "" {
				rights = "all"
			}
			if n.Join, err = s.nodes[0].token(ctx, rights); err != nil {
				return err
			}
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		n.Join = ""
		s.nodes = append(s.nodes, n)
	}
	one := s.one()
	for _, kind := range []string{"echo", "counter"} {
		wasm, err := os.ReadFile(filepath.Join("testdata", "wasm", "c", kind+".wasm"))
		if err != nil {
			return err
		}
		if _, err := one.must(ctx, "PUT", "/v1/kinds/"+kind, wasm); err != nil {
			return err
		}
	}
	for name, kind := range map[string]string{"light": "echo", "bystander": "counter"} {
		if err := one.spawn(ctx, kind, name, nil); err != nil {
			return err
		}
	}
	_, err := one.must(ctx, "POST", "/v1/daemons/bystander/events?id=attack/1", []byte("x"))
	return err
}

func (s *scene) one() *node { return s.nodes[0] }

func (s *scene) close() error {
	var err error
	for _, n := range s.nodes {
		err = errors.Join(err, n.Kill())
	}
	return err
}

// facts is what must be as it was after every attack: the bystander, whole, and the
// kinds' and the nodes' names.
func (s *scene) facts(ctx context.Context) (string, error) {
	b, err := s.one().must(ctx, "GET", "/v1/daemons/bystander", nil)
	if err != nil {
		return "", err
	}
	var d map[string]any
	if err := json.Unmarshal(b, &d); err != nil {
		return "", err
	}
	facts := make(map[string]any)
	for _, key := range []string{"entity_id", "name", "kind", "epoch", "sequence", "head", "state", "node_id", "grants", "applied"} {
		facts[key] = d[key]
	}
	b, err = json.Marshal(facts)
	return string(b), err
}

// say sends a request and returns how it was answered: the status and, of a problem,
// its code and detail.
func (n *node) say(ctx context.Context, method, path string, body []byte) (string, error) {
	status, b, err := n.do(ctx, method, path, body)
	if err != nil {
		return "", err
	}
	return answerText(status, b), nil
}

func answerText(status int, body []byte) string {
	var p struct{ Code, Detail string }
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		return fmt.Sprintf("%d %s: %s", status, p.Code, p.Detail)
	}
	return fmt.Sprintf("%d", status)
}

func (n *node) do(ctx context.Context, method, path string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	res, err := n.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	return res.StatusCode, b, err
}

// must is do of what has to succeed.
func (n *node) must(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	status, b, err := n.do(ctx, method, path, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s %s: %s", method, path, answerText(status, b))
	}
	return b, err
}

func (n *node) spawn(ctx context.Context, kind, name string, limits map[string]any) error {
	body := map[string]any{"kind": kind, "name": name, "may_send": []string{"*"}}
	if limits != nil {
		body["limits"] = limits
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = n.must(ctx, "POST", "/v1/daemons", b)
	return err
}

// counter pushes the kind counter, and spawns a daemon of it that has counted one event.
func (n *node) counter(ctx context.Context, name string) error {
	wasm, err := os.ReadFile(filepath.Join("testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		return err
	}
	if _, err := n.must(ctx, "PUT", "/v1/kinds/counter", wasm); err != nil {
		return err
	}
	if err := n.spawn(ctx, "counter", name, nil); err != nil {
		return err
	}
	_, err = n.must(ctx, "POST", "/v1/daemons/"+name+"/events?id=attack/1", []byte("x"))
	return err
}

func (n *node) token(ctx context.Context, rights string) (string, error) {
	b, err := n.must(ctx, "POST", "/v1/token?ttl=5m&rights="+rights, nil)
	if err != nil {
		return "", err
	}
	var t struct{ Token string }
	err = json.Unmarshal(b, &t)
	return t.Token, err
}

// bomb pushes a module, spawns a daemon of it and sends it one event; it returns what
// the first of them says that is refused.
func (n *node) bomb(ctx context.Context, wasm []byte) (string, error) {
	for _, step := range []struct {
		method, path string
		body         []byte
	}{
		{"PUT", "/v1/kinds/bomb", wasm},
		{"POST", "/v1/daemons", []byte(`{"kind":"bomb","name":"bomb"}`)},
		{"POST", "/v1/daemons/bomb/events", []byte("x")},
	} {
		status, b, err := n.do(ctx, step.method, step.path, step.body)
		if err != nil {
			return "", err
		}
		if status >= 300 {
			return answerText(status, b), nil
		}
	}
	return "200", nil
}

// raw writes bytes to the control socket, as a client that speaks HTTP by hand, and
// returns what comes back within a second after the first byte.
func (n *node) raw(ctx context.Context, request string) (string, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", n.sock)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	buf := make([]byte, 64<<10)
	k, err := c.Read(buf)
	if err != nil {
		return "", fmt.Errorf("nothing was answered: %w", err)
	}
	answer := string(buf[:k])
	line, rest, _ := strings.Cut(answer, "\r\n")
	_, body, _ := strings.Cut(rest, "\r\n\r\n")
	var status int
	if _, err := fmt.Sscanf(line, "HTTP/1.1 %d", &status); err != nil {
		return "", fmt.Errorf("an answer that begins with %q", line)
	}
	return answerText(status, []byte(body)), nil
}
