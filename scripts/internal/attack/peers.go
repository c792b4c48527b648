package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// peerAttacks are a trusted node that lies.
var peerAttacks = []attack{
	{
		name: "unsigned-arrival", tries: "with `migrate`, a daemon that node two has, unsigned, under epoch 1001",
		want: []string{"refused"}, nodes: 2,
		run: asPeer("migrate", func(ctx context.Context, s *scene, p *peer) (string, error) { return p.steal(ctx, s, 1000, keyless) }),
	},
	{
		name: "unsigned-public-arrival", tries: "the same, offered as a daemon that is to sign nothing here",
		want: []string{"without its own signature"}, nodes: 2,
		run: asPeer("migrate", func(ctx context.Context, s *scene, p *peer) (string, error) { return p.steal(ctx, s, 1000, publicOnly) }),
	},
	{
		name: "unsigned-keyed-arrival", tries: "the same, offered as a daemon whose key comes last",
		want: []string{"without its own signature"}, nodes: 2,
		run: asPeer("migrate", func(ctx context.Context, s *scene, p *peer) (string, error) { return p.steal(ctx, s, 1000, keyed) }),
	},
	{
		name: "release-before-prepared", tries: "with `migrate`, a daemon is offered, and released over a second stream at once",
		want: []string{"refused", "not prepared"}, nodes: 2,
		run: asPeer("migrate", func(ctx context.Context, s *scene, p *peer) (string, error) { return p.releaseEarly(ctx, s) }),
	},
	{
		name: "false-residence", tries: "with no rights, a peer says that it has every daemon, under epoch 2^62",
		want: []string{"0 events taken; 200; 200; 200; 404"}, nodes: 2,
		run: asPeer("none", discover),
	},
	{
		name: "false-residence-migrate", tries: "the same by a peer that may move daemons here",
		want: []string{"0 events taken; 200; 200; 200; 404"}, nodes: 2,
		run: asPeer("migrate", discover),
	},
	{
		name: "sender-forged", tries: "with no rights, an event under a channel's name and another daemon's key",
		want: []string{"refused"},
		run: asPeer("none", func(ctx context.Context, s *scene, p *peer) (string, error) {
			id, err := s.entity(ctx, "light")
			if err != nil {
				return "", err
			}
			other, err := s.entity(ctx, "bystander")
			if err != nil {
				return "", err
			}
			return p.event(ctx, id, other, 1, "news", []byte("x"))
		}),
	},
	{
		name: "channel-name-16-MiB", tries: "with no rights, an event whose channel's name is 16 MiB long",
		want: []string{"refused"},
		run: asPeer("none", func(ctx context.Context, s *scene, p *peer) (string, error) {
			id, err := s.entity(ctx, "light")
			if err != nil {
				return "", err
			}
			return p.event(ctx, id, make([]byte, 32), 0, strings.Repeat("n", 16<<20), []byte("x"))
		}),
	},
	{
		name: "body-before-rights", tries: "with no rights, keyed bodies of 60 MiB to a route that needs more, 20 at a time",
		want: []string{"403"}, bounds: bounds{peak: 400 << 20},
		run: asPeer("none", func(ctx context.Context, s *scene, p *peer) (string, error) {
			return p.flood(ctx, "PUT", "/v1/kinds/flood", 60<<20, 20)
		}),
	},
	{
		name: "cluster-secret", tries: "with `operate,migrate`, the cluster's secrets asked for and its directory dialled",
		args: []string{"--cluster"},
		want: []string{"403", "directory closed"},
		run: asPeer("operate,migrate", func(ctx context.Context, s *scene, p *peer) (string, error) {
			said, err := p.ask(ctx, "POST", "/v1/cluster/members", []byte(`{"key":"`+hex.EncodeToString(p.id())+`","name":"mallory","addr":"127.0.0.1:9"}`))
			if err != nil {
				return "", err
			}
			st, err := p.open(ctx, append([]byte{toDirect}, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"...))
			if err != nil {
				return "", err
			}
			if n, err := st.Read(make([]byte, 1024)); err == nil {
				return said + "; the directory answered", fmt.Errorf("%d bytes", n)
			}
			return said + "; directory closed", nil
		}),
	},
	{
		name: "standby-reset", tries: "with its owner's own node key, a daemon's standby told to drop the copy, and no proof of more",
		args: []string{"--cluster"}, nodes: 2, rights: "all,join",
		want: []string{"it is not thrown away", "the copy is as it was: true"},
		run:  resetStandby,
	},
}

// asPeer runs an attack as a peer with the rights.
func asPeer(rights string, run func(context.Context, *scene, *peer) (string, error)) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		p, err := s.join(ctx, rights)
		if err != nil {
			return "", fmt.Errorf("joining as a peer: %w", err)
		}
		defer p.conn.CloseWithError(0, "") //nolint: the session is of no further use
		return run(ctx, s, p)
	}
}

func (s *scene) entity(ctx context.Context, ref string) ([]byte, error) {
	b, err := s.one().must(ctx, "GET", "/v1/daemons/"+ref, nil)
	if err != nil {
		return nil, err
	}
	var d struct {
		ID string `json:"entity_id"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, err
	}
	return hex.DecodeString(d.ID)
}

// event sends one event on a stream of its own and returns what came of it.
func (p *peer) event(ctx context.Context, to, sender []byte, number uint64, channel string, payload []byte) (string, error) {
	ev := cborList(cborBytes(sender), cborUint(number), cborText(channel), cborBytes(payload))
	st, err := p.open(ctx, append([]byte{toSend}, append(frame(cborList(cborBytes(to))), frame(ev)...)...))
	if err != nil {
		return "", err
	}
	reply, err := readList(st)
	if err != nil {
		return "refused: " + err.Error(), nil
	}
	if len(reply) < 2 || reply[0] == uint64(0) {
		return "applied", nil
	}
	return fmt.Sprintf("refused: code %v, %v", reply[0], reply[1]), nil
}

// ask sends a request over the tunnel, by hand.
func (p *peer) ask(ctx context.Context, method, path string, body []byte) (string, error) {
	st, err := p.open(ctx, append([]byte{toAsk}, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)...))
	if err != nil {
		return "", err
	}
	return readAnswer(st)
}

func readAnswer(r io.Reader) (string, error) {
	res, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return answerText(res.StatusCode, b), err
}

// flood begins so many large bodies, all but the last byte of each, with keys that make
// the node keep what it reads of them, and returns what the first says.
func (p *peer) flood(ctx context.Context, method, path string, size, streams int) (string, error) {
	said := make([]string, streams)
	errs := make([]error, streams)
	var all sync.WaitGroup
	for i := range streams {
		all.Go(func() { said[i], errs[i] = p.withhold(ctx, method, path, fmt.Sprintf("k%d", i), size) })
	}
	all.Wait()
	return said[0], errors.Join(errs...)
}

// withhold sends a body without its last byte, and returns the answer.
func (p *peer) withhold(ctx context.Context, method, path, key string, size int) (string, error) {
	st, err := p.open(ctx, append([]byte{toAsk}, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: n\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n", method, path, key, size)...))
	if err != nil {
		return "", err
	}
	piece := make([]byte, 256<<10)
	for sent := 0; sent < size-1; sent += len(piece) {
		if _, err := st.Write(piece[:min(len(piece), size-1-sent)]); err != nil {
			break // the node has answered, and reads no more
		}
	}
	return readAnswer(st)
}
