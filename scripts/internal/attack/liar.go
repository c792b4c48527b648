package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"wasmhost.example/identity"
)

// liar answers what a node asks its peers: it has every daemon, under an epoch that
// nobody can reach, and takes the events that come for it.
type liar struct {
	p     *peer
	claim map[string]any // the daemon that it says it has
	asked atomic.Int64
	took  atomic.Int64 // events
	work  sync.WaitGroup
}

// lie answers the node's streams until ctx ends. entity is the daemon that it claims.
func (p *peer) lie(ctx context.Context, entity []byte, name string) *liar {
	id := identity.EntityID(entity)
	l := &liar{p: p, claim: map[string]any{"name": name, "entity_id": id.String(), "origin": id.Origin().String(), "kind": "counter",
		"node_id": identity.EntityID(p.id()).Node().String(), "epoch": uint64(1) << 62, "sequence": 1, "state": "running", "module": "",
		"head": hex.EncodeToString(make([]byte, 32)), "spawned": "2026-01-01T00:00:00Z"}}
	l.work.Go(func() {
		for {
			st, err := p.conn.AcceptStream(ctx)
			if err != nil {
				return // ctx or the session ended
			}
			l.work.Go(func() { l.answer(st) })
		}
	})
	return l
}

func (l *liar) answer(st *quic.Stream) {
	defer st.Close()
	r := bufio.NewReader(st)
	purpose, err := r.ReadByte()
	if err != nil {
		return
	}
	switch purpose {
	case toAsk:
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		l.asked.Add(1)
		var said any = l.claim
		switch path := req.URL.Path; {
		case strings.Contains(path, "sighting") || strings.Contains(path, "whereabouts"):
			said = map[string]any{"daemon": l.claim}
		case strings.HasSuffix(path, "/daemons"):
			said = []any{l.claim}
		}
		b, err := json.Marshal(said)
		if err != nil {
			return
		}
		fmt.Fprintf(st, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(b), b)
	case toSend:
		if _, err := readFrame(r); err != nil { // which daemon
			return
		}
		for {
			if _, err := readFrame(r); err != nil {
				return
			}
			l.took.Add(1)
			reply := cborList(cborUint(0), cborText(""), cborBool(false), cborList(), cborList(), cborList(), cborList())
			if _, err := st.Write(frame(reply)); err != nil {
				return
			}
		}
	}
}

// discover has the node look for a daemon, by name and by id, and tells whether the
// peer got what was meant for it.
func discover(ctx context.Context, s *scene, p *peer) (string, error) {
	two := s.nodes[1]
	if err := two.counter(ctx, "bank"); err != nil {
		return "", err
	}
	b, err := two.must(ctx, "GET", "/v1/daemons/bank", nil)
	if err != nil {
		return "", err
	}
	var d struct {
		ID string `json:"entity_id"`
	}
	if err := json.Unmarshal(b, &d); err != nil {
		return "", err
	}
	entity, err := hex.DecodeString(d.ID)
	if err != nil {
		return "", err
	}

	l := p.lie(ctx, entity, "bank")
	var all []string
	for i, ref := range []string{"bank", d.ID, "bank", "nowhere"} {
		said, err := s.one().say(ctx, "POST", fmt.Sprintf("/v1/daemons/%s/events?id=pay/%d", ref, i+1), []byte("pay"))
		if err != nil {
			return "", err
		}
		all = append(all, said)
	}
	said := fmt.Sprintf("%d events taken; %s", l.took.Load(), strings.Join(all, "; "))
	if n := l.took.Load(); n > 0 {
		return said, fmt.Errorf("the peer took %d events that were meant for a daemon on node two", n)
	}
	return said, nil
}
