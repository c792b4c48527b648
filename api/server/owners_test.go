package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/locate"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// liesOf is a peer's whole API: it has whatever daemon or group it is asked for, as the
// answer says, and counts what it is sent.
type liesOf struct {
	answer api.Daemon
	sent   atomic.Int32
}

func (l *liesOf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		l.sent.Add(1)
	}
	var v any = l.answer
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/groups/"):
		v = api.Group{Name: "g"}
	case strings.HasPrefix(r.URL.Path, "/v1/sightings/"):
		v = api.Sighting{Daemon: &l.answer}
	}
	_ = web.WriteJSON(w, v)
}

// letTrust has a trust b with those rights, and b trust a with all.
func letTrust(t *testing.T, a, b *served, rights trust.Rights) {
	t.Helper()
	token, err := a.mesh.Token(time.Minute, rights)
	if err == nil {
		_, err = b.mesh.Join(ctx, token)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *served) post(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, httptest.NewRequest("POST", path, strings.NewReader("x")))
	return w
}

// A peer that says that it has a daemon, at whatever epoch, gets no event for it,
// whatever its rights are, and stops nobody from making the daemon. One that may not
// have daemons is not even asked.
func TestWhoClaimsADaemonGetsNothingWithoutProof(t *testing.T) {
	for _, rights := range []trust.Rights{0, trust.RightRead, trust.RightMigrate, trust.RightsAll} {
		t.Run(rights.String(), func(t *testing.T) {
			a, m := serve(t, "a"), serve(t, "m")
			letTrust(t, a, m, rights)
			key, err := identity.Generate()
			if err != nil {
				t.Fatal(err)
			}
			id := key.ID()
			lies := &liesOf{answer: api.Daemon{Name: "bank", EntityID: id.String(), Origin: id.Origin().String(), NodeID: m.mesh.Self().String(), Epoch: 1 << 62, State: "running"}}
			m.mesh.ServeHTTP(lies)
			for _, ref := range []string{"bank", id.String(), id.Origin().String()} {
				w := a.post("/v1/daemons/" + ref + "/events")
				want := "residence-unproven"
				if !locate.MayOwn(rights) {
					want = "daemon-not-found"
				}
				if got := problemOf(t, w); got != want {
					t.Errorf("%s: got %d %s, want %s", ref, w.Code, got, want)
				}
			}
			if err := a.server.entityNotElsewhere(ctx, id); err != nil {
				t.Errorf("the daemon cannot be made here: %v", err)
			}
			if !locate.MayOwn(rights) {
				if got := problemOf(t, a.post("/v1/daemons/group%2Fg/events")); got != "group-not-found" {
					t.Errorf("the group: got %s, want group-not-found", got)
				}
			}
			seen, err := a.server.group.AskProven(ctx, m.mesh.Self(), id)
			if !errors.Is(err, daemon.ErrUnproven) && !errors.Is(err, daemon.ErrNotFound) && err == nil {
				t.Errorf("a sighting counts: %+v", seen)
			}
			if n := lies.sent.Load(); n != 0 {
				t.Errorf("%d requests reached the peer", n)
			}
		})
	}
}

// Two peers that each have a daemon of the name: neither is taken.
func TestANameOfTwoDaemonsIsAmbiguous(t *testing.T) {
	a, b, c := serve(t, "a"), serve(t, "b"), serve(t, "c")
	letTrust(t, a, b, trust.RightsAll)
	letTrust(t, a, c, trust.RightsAll)
	for _, s := range []*served{b, c} {
		if _, err := s.rt.Kinds().Push(ctx, "n", counterModule(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "bank"}); err != nil {
			t.Fatal(err)
		}
	}
	if got := problemOf(t, a.post("/v1/daemons/bank/events")); got != "ambiguous" {
		t.Errorf("got %s, want ambiguous", got)
	}
	if _, err := c.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "other"}); err != nil {
		t.Fatal(err)
	}
	if w := a.post("/v1/daemons/other/events"); w.Code != http.StatusOK {
		t.Errorf("a name of one: %d %s", w.Code, w.Body)
	}
}
