package server

import (
	"fmt"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// senderHeader tells the node that a request is passed on to under which id an event's
// sender is known at the node that the client asked. It is hexadecimal, from peers alone.
const senderHeader = "Wasmhost-Sender"

// account returns under which id the caller sends the events of a sender that it names.
// The owner, at the socket of any node whose peers may operate its daemons, has the names
// of one space; each API token and each other peer has a space of its own.
func (s *Server) account(r *http.Request, named api.EventID) (identity.EntityID, error) {
	sender := identity.NamedSender(named.Sender)
	if peer, ok := wire.PeerOf(r.Context()); ok {
		if stated := r.Header.Get(senderHeader); stated != "" {
			if err := web.HexInto(sender[:], stated); err != nil {
				return identity.EntityID{}, fmt.Errorf("the header %s: %w", senderHeader, err)
			}
		}
		return s.mesh.SenderOf(peer, sender)
	}
	if who := callerOf(r); who.token != nil {
		return identity.ScopedSender("token:"+s.mesh.Self().String()+"/"+who.token.id, sender), nil
	}
	return sender, nil
}

// stateSender makes a request that is passed on say whose event it brings.
func (s *Server) stateSender(r *http.Request) error {
	named, err := eventIDOf(r)
	if err != nil || named.Sender == "" {
		r.Header.Del(senderHeader)
		return err
	}
	sender, err := s.account(r, named)
	if err != nil {
		return err
	}
	r.Header.Set(senderHeader, sender.String())
	return nil
}

// eventIDOf returns the event's id that the request names; zero: none.
func eventIDOf(r *http.Request) (api.EventID, error) {
	q := query.Of(r)
	if !q.Has("id") {
		return api.EventID{}, nil
	}
	return api.ParseEventID(q.Text("id"))
}
