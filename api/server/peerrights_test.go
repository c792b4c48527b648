package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// peerNeeds is which right a peer needs for each operation; 0: none. Those without are
// what `node trust grant --help` says of every trusted node: to send events, to see
// daemons, and what the node announces of itself.
var peerNeeds = map[string]trust.Rights{
	"GET /v1/openapi.json":          0,
	"GET /v1/node":                  0,
	"GET /v1/daemons":               0,
	"GET /v1/daemons/{ref}":         0,
	"GET /v1/sightings/{entity}":    0,
	"POST /v1/daemons/{ref}/events": 0,
	"POST /v1/daemons/{ref}/stream": 0,

	"GET /v1/happenings":                     trust.RightRead,
	"GET /v1/nodes":                          trust.RightRead,
	"GET /v1/nodes/{node}":                   trust.RightRead,
	"GET /v1/kinds":                          trust.RightRead,
	"GET /v1/kinds/{kind}":                   trust.RightRead,
	"GET /v1/kinds/{kind}/module":            trust.RightRead,
	"GET /v1/top":                            trust.RightRead,
	"POST /v1/place":                         trust.RightRead,
	"GET /v1/cluster":                        trust.RightRead,
	"GET /v1/cluster/copies":                 trust.RightRead,
	"GET /v1/cluster/copies/{entity}/chain":  trust.RightRead,
	"GET /v1/cluster/known":                  trust.RightRead,
	"POST /v1/cluster/promotions":            trust.RightsVoter,
	"PUT /v1/cluster/directory":              trust.RightsVoter,
	"GET /v1/groups":                         trust.RightRead,
	"GET /v1/groups/{group}":                 trust.RightRead,
	"GET /v1/daemons/{ref}/subscriptions":    trust.RightRead,
	"GET /v1/daemons/{ref}/logs":             trust.RightRead,
	"POST /v1/daemons/{ref}/query":           trust.RightRead,
	"GET /v1/daemons/{ref}/tail":             trust.RightRead,
	"GET /v1/daemons/{ref}/snapshot":         trust.RightRead,
	"GET /v1/daemons/{ref}/receipts":         trust.RightRead,
	"GET /v1/daemons/{ref}/receipts/{epoch}": trust.RightRead,
	"GET /v1/daemons/{ref}/chain":            trust.RightRead,
	"GET /v1/daemons/{ref}/quarantine":       trust.RightRead,

	"POST /v1/nodes/{node}/drain":                     trust.RightOperate,
	"DELETE /v1/nodes/{node}/drain":                   trust.RightOperate,
	"POST /v1/rebalance":                              trust.RightOperate,
	"DELETE /v1/groups/{group}":                       trust.RightOperate,
	"POST /v1/groups/{group}/scale":                   trust.RightOperate,
	"POST /v1/groups/{group}/heal":                    trust.RightOperate,
	"POST /v1/daemons/{ref}/subscriptions":            trust.RightOperate,
	"DELETE /v1/daemons/{ref}/subscriptions":          trust.RightOperate,
	"DELETE /v1/daemons/{ref}":                        trust.RightOperate,
	"GET /v1/held":                                    trust.RightRead,
	"GET /v1/incarnation":                             trust.RightRead,
	"POST /v1/daemons/{ref}/confirm":                  trust.RightOperate,
	"POST /v1/daemons/{ref}/yield":                    trust.RightOperate,
	"POST /v1/daemons/{ref}/mend":                     trust.RightOperate,
	"POST /v1/daemons/{ref}/upgrade":                  trust.RightOperate,
	"POST /v1/daemons/{ref}/fork":                     trust.RightOperate,
	"GET /v1/limits":                                  trust.RightRead,
	"GET /v1/daemons/{ref}/limits":                    trust.RightRead,
	"GET /v1/daemons/{ref}/grants":                    trust.RightRead,
	"POST /v1/daemons/{ref}/grants":                   trust.RightOperate,
	"GET /v1/applications":                            trust.RightRead,
	"GET /v1/applications/{application}":              trust.RightRead,
	"PUT /v1/daemons/{ref}/limits":                    trust.RightOperate,
	"GET /v1/kinds/{kind}/limits":                     trust.RightRead,
	"PUT /v1/kinds/{kind}/limits":                     trust.RightKinds,
	"POST /v1/daemons/{ref}/quarantine/{index}/retry": trust.RightOperate,
	"DELETE /v1/daemons/{ref}/quarantine/{index}":     trust.RightOperate,
	"POST /v1/daemons/{ref}/start":                    trust.RightOperate,
	"POST /v1/daemons/{ref}/stop":                     trust.RightOperate,
	"POST /v1/daemons/{ref}/place":                    trust.RightOperate,
	"POST /v1/daemons/{ref}/migrate":                  trust.RightOperate,

	"PUT /v1/kinds/{kind}":     trust.RightKinds,
	"GET /v1/channels":         trust.RightChannels,
	"GET /v1/revocations":      trust.RightChannels,
	"POST /v1/cluster/members": trust.RightJoin,
}

// ofChannels are the operations for which a channel's own tokens may stand in for rights:
// wire's tests have those.
var ofChannels = map[string]bool{
	"GET /v1/channels/{channel}": true, "DELETE /v1/channels/{channel}": true,
	"POST /v1/channels/{channel}/publish": true, "GET /v1/channels/{channel}/events": true,
}

// TestEachOperationNeedsItsRight asks for every operation as a peer with each right alone,
// with none, and with all. What peerNeeds does not name is the owner's.
func TestEachOperationNeedsItsRight(t *testing.T) {
	a := serve(t, "a")
	peer := newNode(t, "peer")
	token := must[string](t)(a.mesh.Token(time.Minute, 0))
	must[identity.NodeID](t)(peer.mesh.Join(ctx, token))
	key := must[wire.PeerInfo](t)(a.mesh.FindPeer(peer.mesh.Self().String())).Key
	client := &http.Client{Transport: peer.mesh.HTTPTransport(a.mesh.Self()), Timeout: 20 * time.Second}
	for pattern := range peerNeeds {
		if _, ok := operations[pattern]; !ok {
			t.Errorf("%s is no operation", pattern)
		}
	}
	for _, rights := range []trust.Rights{0, trust.RightRead, trust.RightOperate, trust.RightMigrate, trust.RightChannels, trust.RightKinds, trust.RightJoin, trust.RightsAll, trust.RightsVoter} {
		if err := a.mesh.Grant(key, rights); err != nil {
			t.Fatal(err)
		}
		for pattern := range operations {
			if ofChannels[pattern] || pattern == "GET /v1/happenings" && rights&trust.RightRead != 0 {
				continue // it would not end
			}
			need, listed := peerNeeds[pattern]
			if !listed {
				need = trust.RightOwner
			}
			method, path, _ := strings.Cut(pattern, " ")
			for _, part := range []string{"{ref}", "{node}", "{kind}", "{group}", "{entity}", "{epoch}", "{index}", "{id}", "{application}"} {
				path = strings.ReplaceAll(path, part, "nothing")
			}
			req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatalf("with %v, %s: %v", rights, pattern, err)
			}
			var p api.Problem
			_ = json.NewDecoder(res.Body).Decode(&p) // an answer that is no problem has no code
			_ = res.Body.Close()
			if got, want := p.Code == "denied", rights&need != need; got != want {
				t.Errorf("with %v, %s: got %d %s, want denied to be %v", rights, pattern, res.StatusCode, p.Code, want)
			}
		}
	}
}
