package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// Each token has senders of its own, and a share of a daemon's memory of them; plain
// events take no place, whoever sends them.
func TestTokensHaveSendersOfTheirOwn(t *testing.T) {
	const limit = 32
	s := serveWith(t, "a", func(o *host.Options) { o.Limits.Senders = limit }, func(*Server) {})
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	d := must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}))
	owner, _ := clientOf(t, s.server)
	as := func() *client.Client {
		token := must[api.APIToken](t)(s.server.guard.IssueToken(api.IssueToken{Name: "t", Scope: "send", TTL: "1h"}))
		c, _ := clientOf(t, s.server.TCP())
		c = c.Bearing(token.Token)
		return c
	}
	one, two := as(), as()

	for i, c := range []*client.Client{owner, one, two} {
		for again := range 2 {
			sent := must[api.Sent](t)(c.Send(ctx, "c", "order/5", []byte("x")))
			if sent.Duplicate != (again == 1) || payloads(t, sent) != fmt.Sprint(i+1) {
				t.Errorf("caller %d, time %d: %+v", i, again, sent)
			}
		}
	}
	must[api.Sent](t)(one.Send(ctx, "c", "order/9223372036854775807", []byte("x"))) // burns its own alone
	if sent := must[api.Sent](t)(owner.Send(ctx, "c", "order/6", []byte("x"))); sent.Duplicate {
		t.Errorf("%+v", sent)
	}

	for i := range limit/8 - 1 {
		must[api.Sent](t)(one.Send(ctx, "c", fmt.Sprint("one-shot-", i), []byte("x")))
	}
	_, err := one.Send(ctx, "c", "one-shot-more", []byte("x"))
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != "sender-quota" || p.Status != 429 || p.Hint == "" {
		t.Errorf("a token over its share: %v", err)
	}
	for range 2 * limit {
		must[api.Sent](t)(one.Send(ctx, "c", "", []byte("x")))
	}
	must[api.Sent](t)(two.Send(ctx, "c", "another", []byte("x")))
	must[api.Sent](t)(owner.Send(ctx, "c", "another", []byte("x")))

	snap := must[*snapshot.Snapshot](t)(s.rt.Snapshot(ctx, d.Entity))
	if n := snapshot.SendersOf(snap.Header.Horizon); n != limit/8+2+2+1 {
		t.Errorf("%d senders are remembered, want %d: the token's share, two of each other, and the node's own", n, limit/8+5)
	}
}

// A node that passes an event on says whose it is. Only a peer that may operate daemons
// is believed; at the socket and over TCP nobody is.
func TestStatedSenders(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	must[identity.NodeID](t)(b.mesh.Join(ctx, must[string](t)(a.mesh.Token(60e9, trust.RightsAll))))
	must[registry.KindInfo](t)(a.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	must[daemon.Info](t)(a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}))
	grant := func(rights trust.Rights) {
		t.Helper()
		if err := a.mesh.Grant(must[wire.PeerInfo](t)(a.mesh.FindPeer(b.mesh.Self().String())).Key, rights); err != nil {
			t.Fatal(err)
		}
	}
	post := func(peer bool, stated string) (status int, sent api.Sent) {
		t.Helper()
		r := httptest.NewRequest("POST", "http://a/v1/daemons/c/events?id=order", strings.NewReader("x"))
		r.Header.Set(access.SenderHeader, stated)
		if !peer {
			w := httptest.NewRecorder()
			a.server.ServeHTTP(w, r)
			if err := json.Unmarshal(w.Body.Bytes(), &sent); err != nil {
				t.Fatal(err)
			}
			return w.Code, sent
		}
		r.RequestURI = ""
		res := must[*http.Response](t)(b.mesh.HTTPTransport(a.mesh.Self()).RoundTrip(r))
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&sent); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, sent
	}
	other := identity.NamedSender("other").String()

	if _, sent := post(false, other); sent.Duplicate { // it is order's first
		t.Errorf("at the socket: %+v", sent)
	}
	if _, sent := post(true, identity.NamedSender("order").String()); !sent.Duplicate {
		t.Errorf("from a peer that may operate daemons: %+v, want a repeat of the owner's", sent)
	}
	if _, sent := post(true, other); sent.Duplicate {
		t.Errorf("from a peer, of another sender: %+v", sent)
	}
	grant(0)
	if _, sent := post(true, identity.NamedSender("order").String()); sent.Duplicate {
		t.Errorf("from a peer without rights: %+v, want no repeat of the owner's", sent)
	}
	if status, _ := post(true, strings.Repeat("0", 63)); status != 400 {
		t.Errorf("a header that is no id: %d", status)
	}
}

func payloads(t *testing.T, s api.Sent) string {
	t.Helper()
	var out []byte
	for _, o := range s.Outputs {
		b, err := base64.StdEncoding.DecodeString(o.Payload)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	return string(out)
}
