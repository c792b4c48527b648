package access

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// SenderHeader tells the node that a request is passed on to under which id an event's
// sender is known at the node that the client asked. It is hexadecimal, from peers alone.
const SenderHeader = "Wasmhost-Sender"

// Account returns under which id the caller sends the events of a sender that it names.
// The owner, at the socket of any node whose peers may operate its daemons, has the names
// of one space; each API token and each other peer has a space of its own.
func (g *Guard) Account(r *http.Request, named api.EventID) (identity.EntityID, error) {
	sender := identity.NamedSender(named.Sender)
	if peer, ok := wire.PeerOf(r.Context()); ok {
		if stated := r.Header.Get(SenderHeader); stated != "" {
			if err := web.HexInto(sender[:], stated); err != nil {
				return identity.EntityID{}, fmt.Errorf("the header %s: %w", SenderHeader, err)
			}
		}
		return g.mesh.SenderOf(peer, sender)
	}
	if who := CallerOf(r); who.token != nil {
		return identity.ScopedSender("token:"+g.mesh.Self().String()+"/"+who.token.id, sender), nil
	}
	return sender, nil
}

// StateSender makes a request that is passed on say whose event it brings.
func (g *Guard) StateSender(r *http.Request) error {
	named, err := EventIDOf(r)
	if err != nil || named.Sender == "" {
		r.Header.Del(SenderHeader)
		return err
	}
	sender, err := g.Account(r, named)
	if err != nil {
		return err
	}
	r.Header.Set(SenderHeader, sender.String())
	return nil
}

// EventIDOf returns the event's id that the request names; zero: none.
func EventIDOf(r *http.Request) (api.EventID, error) {
	q := query.Of(r)
	if !q.Has("id") {
		return api.EventID{}, nil
	}
	return api.ParseEventID(q.Text("id"))
}
