package access

import (
	"net/http"

	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// Owner refuses what comes from a peer.
func (g *Guard) Owner(h web.Handler) web.Handler { return g.Needs(trust.RightOwner, h) }

// Needs refuses peers that lack the right, here and so at each node that passes
// a request on.
func (g *Guard) Needs(right trust.Rights, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if from, ok := wire.PeerOf(r.Context()); ok {
			if err := g.mesh.Allow(from, right, r.Method+" "+r.URL.Path); err != nil {
				return err
			}
		}
		return g.Admitted(w, r, h)
	}
}
