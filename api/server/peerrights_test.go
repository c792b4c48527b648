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
)

// peerNeeds is which right a peer needs for each operation; 0: none. Those without are
// what `node trust grant --help` says of every trusted node: to send events, to see
// daemons, and what the node announces of itself.
var peerNeeds = map[string]wire.Rights{
	"GET /v1/openapi.json":          0,
	"GET /v1/node":                  0,
	"GET /v1/daemons":               0,
	"GET /v1/daemons/{ref}":         0,
	"GET /v1/sightings/{entity}":    0,
	"POST /v1/daemons/{ref}/events": 0,
	"POST /v1/daemons/{ref}/stream": 0,

	"GET /v1/happenings":                     wire.RightRead,
	"GET /v1/nodes":                          wire.RightRead,
	"GET /v1/nodes/{node}":                   wire.RightRead,
	"GET /v1/kinds":                          wire.RightRead,
	"GET /v1/kinds/{kind}":                   wire.RightRead,
	"GET /v1/kinds/{kind}/module":            wire.RightRead,
	"GET /v1/top":                            wire.RightRead,
	"POST /v1/place":                         wire.RightRead,
	"GET /v1/cluster":                        wire.RightRead,
	"GET /v1/cluster/copies":                 wire.RightRead,
	"GET /v1/cluster/copies/{entity}/chain":  wire.RightRead,
	"GET /v1/cluster/known":                  wire.RightRead,
	"POST /v1/cluster/promotions":            wire.RightsVoter,
	"PUT /v1/cluster/directory":              wire.RightsVoter,
	"GET /v1/groups":                         wire.RightRead,
	"GET /v1/groups/{group}":                 wire.RightRead,
	"GET /v1/daemons/{ref}/subscriptions":    wire.RightRead,
	"GET /v1/daemons/{ref}/logs":             wire.RightRead,
	"GET /v1/daemons/{ref}/tail":             wire.RightRead,
	"GET /v1/daemons/{ref}/snapshot":         wire.RightRead,
	"GET /v1/daemons/{ref}/receipts":         wire.RightRead,
	"GET /v1/daemons/{ref}/receipts/{epoch}": wire.RightRead,
	"GET /v1/daemons/{ref}/chain":            wire.RightRead,
	"GET /v1/daemons/{ref}/quarantine":       wire.RightRead,

	"POST /v1/nodes/{node}/drain":                     wire.RightOperate,
	"DELETE /v1/nodes/{node}/drain":                   wire.RightOperate,
	"POST /v1/rebalance":                              wire.RightOperate,
	"DELETE /v1/groups/{group}":                       wire.RightOperate,
	"POST /v1/groups/{group}/scale":                   wire.RightOperate,
	"POST /v1/groups/{group}/heal":                    wire.RightOperate,
	"POST /v1/daemons/{ref}/subscriptions":            wire.RightOperate,
	"DELETE /v1/daemons/{ref}/subscriptions":          wire.RightOperate,
	"DELETE /v1/daemons/{ref}":                        wire.RightOperate,
	"GET /v1/held":                                    wire.RightRead,
	"GET /v1/incarnation":                             wire.RightRead,
	"POST /v1/daemons/{ref}/confirm":                  wire.RightOperate,
	"POST /v1/daemons/{ref}/yield":                    wire.RightOperate,
	"POST /v1/daemons/{ref}/mend":                     wire.RightOperate,
	"POST /v1/daemons/{ref}/upgrade":                  wire.RightOperate,
	"POST /v1/daemons/{ref}/fork":                     wire.RightOperate,
	"GET /v1/limits":                                  wire.RightRead,
	"GET /v1/daemons/{ref}/limits":                    wire.RightRead,
	"PUT /v1/daemons/{ref}/limits":                    wire.RightOperate,
	"GET /v1/kinds/{kind}/limits":                     wire.RightRead,
	"PUT /v1/kinds/{kind}/limits":                     wire.RightKinds,
	"POST /v1/daemons/{ref}/quarantine/{index}/retry": wire.RightOperate,
	"DELETE /v1/daemons/{ref}/quarantine/{index}":     wire.RightOperate,
	"POST /v1/daemons/{ref}/start":                    wire.RightOperate,
	"POST /v1/daemons/{ref}/stop":                     wire.RightOperate,
	"POST /v1/daemons/{ref}/place":                    wire.RightOperate,
	"POST /v1/daemons/{ref}/migrate":                  wire.RightOperate,

	"PUT /v1/kinds/{kind}":     wire.RightKinds,
	"GET /v1/channels":         wire.RightChannels,
	"GET /v1/revocations":      wire.RightChannels,
	"POST /v1/cluster/members": wire.RightJoin,
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
	for _, rights := range []wire.Rights{0, wire.RightRead, wire.RightOperate, wire.RightMigrate, wire.RightChannels, wire.RightKinds, wire.RightJoin, wire.RightsAll, wire.RightsVoter} {
		if err := a.mesh.Grant(key, rights); err != nil {
			t.Fatal(err)
		}
		for pattern := range operations {
			if ofChannels[pattern] || pattern == "GET /v1/happenings" && rights&wire.RightRead != 0 {
				continue // it would not end
			}
			need, listed := peerNeeds[pattern]
			if !listed {
				need = wire.RightOwner
			}
			method, path, _ := strings.Cut(pattern, " ")
			for _, part := range []string{"{ref}", "{node}", "{kind}", "{group}", "{entity}", "{epoch}", "{index}", "{id}"} {
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
