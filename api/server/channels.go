package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/lines"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire"
)

func (s *Server) channelOf(i broker.Info) api.Channel {
	p := &i.Policy
	out := api.Channel{Name: i.Name, NodeID: s.mesh.Self().String(), Roots: []string{}, Gated: p.Gated || len(p.Roots) > 0, Family: p.Family,
		Created: i.Created.UTC(), Birth: i.Birth, Cursor: broker.Cursor{Birth: i.Birth, Sequence: i.Next - 1}.String(), First: i.First, Next: i.Next, Events: i.Events, Bytes: i.Bytes,
		KeepEvents: p.Limits.Events, KeepBytes: p.Limits.Bytes, KeepFor: max(p.Limits.Age, 0).String()}
	for _, r := range p.Roots {
		out.Roots = append(out.Roots, r.String())
	}
	for _, m := range i.Subscribers {
		out.Subscribers = append(out.Subscribers, api.ChannelSubscriber{Origin: m.Entity.Origin().String(), EntityID: m.Entity.String(), NodeID: m.Node.String(),
			Cursor: m.Cursor, Lag: i.Next - 1 - min(m.Cursor, i.Next-1), Expires: convert.Optional(m.Expires)})
	}
	return out
}

// ofNode answers requests for this node, and passes those with ?node=NODE on.
func (s *Server) ofNode(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ref := query.Of(r).Text("node")
		if ref == "" {
			return h(w, r)
		}
		id, err := s.mesh.FindNode(ref)
		if err != nil || id == s.mesh.Self() {
			if err == nil {
				err = h(w, r)
			}
			return err
		}
		if _, peer := wire.PeerOf(r.Context()); peer || r.Header.Get(web.HopsHeader) != "" { // this node's rights there are not the peer's
			return problem.ErrTooManyHops
		}
		proxy := &httputil.ReverseProxy{
			Transport: s.mesh.HTTPTransport(id), FlushInterval: -1,
			Rewrite: func(p *httputil.ProxyRequest) {
				p.Out.URL.Scheme, p.Out.URL.Host = "http", id.String()
				q := p.Out.URL.Query()
				q.Del("node")
				p.Out.URL.RawQuery = q.Encode()
				p.Out.Header.Set(web.HopsHeader, "1")
				web.PassTrace(p.In, p.Out)
			},
			ModifyResponse: func(res *http.Response) error { return web.NextAt(res, ref) },
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				if !errors.Is(err, mesh.ErrUnreachable) && !errors.Is(err, mesh.ErrUnknownNode) && !errors.Is(err, wire.ErrUntrusted) {
					err = fmt.Errorf("%w: %s: %w", mesh.ErrUnreachable, id, err)
				}
				problem.Write(w, err)
			},
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		proxy.ServeHTTP(w, r)
		return nil
	}
}

// permitted lets through the owner, and a peer that may do action on the channel:
// by its rights where the channel asks for no token, else by a token that is for
// the peer.
func (s *Server) permitted(action identity.Scope, h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if from, ok := wire.PeerOf(r.Context()); ok {
			p, err := s.mesh.FindPeer(from.String())
			if err != nil {
				return err
			}
			var token []byte
			if text := r.Header.Get(api.TokenHeader); text != "" {
				chain, err := identity.ParseTokenText(text)
				if err != nil {
					return err
				}
				if token, err = chain.Bytes(); err != nil {
					return err
				}
			}
			if err := s.rt.Channels().Permit(r.PathValue("channel"), p.Key, s.mesh.ChannelAccess(from), token, action); err != nil {
				return err
			}
		}
		return s.guard.Admitted(w, r, h)
	}
}

// administered lets through the owner, and a peer with an admin's token. No right
// alone lets a peer take a channel away.
func (s *Server) administered(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if _, ok := wire.PeerOf(r.Context()); ok && r.Header.Get(api.TokenHeader) == "" {
			return s.guard.Owner(h)(w, r)
		}
		return s.permitted(identity.ScopeAdmin, h)(w, r)
	}
}

func (s *Server) getChannels(w http.ResponseWriter, r *http.Request) error {
	out := []api.Channel{}
	for _, i := range s.rt.Channels().List() {
		out = append(out, s.channelOf(i))
	}
	if err := s.rt.Ready(); err != nil {
		return err
	}
	key := func(c api.Channel) string { return c.Name }
	slices.SortFunc(out, func(a, b api.Channel) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

// channelPolicy reads which channel a request is to make.
func channelPolicy(w http.ResponseWriter, r *http.Request) (name string, p broker.Policy, err error) {
	var req api.CreateChannel
	if err := web.ReadJSON(w, r, &req); err != nil {
		return "", p, err
	}
	p = broker.Policy{Gated: req.Gated, Family: req.Family, Limits: channel.Limits{Events: req.KeepEvents, Bytes: req.KeepBytes}}
	if req.KeepFor != "" {
		if p.Limits.Age, err = time.ParseDuration(req.KeepFor); err != nil {
			return "", p, fmt.Errorf("%w: keep_for: %w", api.ErrBadRequest, err)
		}
	}
	for _, text := range req.Roots {
		id, err := identity.ParseEntityID(text)
		if err != nil {
			return "", p, err
		}
		p.Roots = append(p.Roots, id)
	}
	return req.Name, p, nil
}

func (s *Server) postChannel(w http.ResponseWriter, r *http.Request) error {
	name, p, err := channelPolicy(w, r)
	if err != nil {
		return err
	}
	i, err := s.rt.Channels().Create(r.Context(), name, p)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.channelOf(i))
}

func (s *Server) getChannel(w http.ResponseWriter, r *http.Request) error {
	i, err := s.rt.Channels().Info(r.PathValue("channel"))
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.channelOf(i))
}

func (s *Server) deleteChannel(w http.ResponseWriter, r *http.Request) error {
	i, err := s.rt.Channels().Info(r.PathValue("channel"))
	if err == nil {
		err = s.rt.Channels().Remove(r.Context(), i.Name)
	}
	if err != nil {
		return err
	}
	return web.WriteJSON(w, s.channelOf(i))
}

// publisher is in whose name a request publishes: the peer's, or the owner's.
func (s *Server) publisher(r *http.Request) (identity.EntityID, error) {
	from, ok := wire.PeerOf(r.Context())
	if !ok {
		return identity.EntityID{}, nil
	}
	p, err := s.mesh.FindPeer(from.String())
	return p.Key, err
}

// publishAtOnce is how many events of a stream are published together.
const publishAtOnce = 256

// postPublish publishes the frames of the body, in order, and answers with a
// line for each group of them that has become durable.
func (s *Server) postPublish(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("channel")
	from, err := s.publisher(r)
	if err == nil {
		_, err = s.rt.Channels().Submit(name, from) // whether it can be published on at all
	}
	if err != nil {
		return err
	}
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	w.Header().Set("Connection", "close") // what is left of the body when the answer ends is no next request
	out := lines.New(w, r)
	w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return nil // the client is gone
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	groups := make(chan publishedGroup, 64)
	requests, leave := s.rt.Node().Budgets().Requests.Of(r.Context())
	defer leave()
	room := requests.Lone("stream", budget.StreamRequests)
	go func() {
		defer close(groups)
		s.publishAll(ctx, name, from, bufio.NewReaderSize(r.Body, 64<<10), room, groups)
	}()
	for g := range groups {
		line := api.Published{Count: g.count}
		err := g.err
		if err == nil {
			line.First, err = g.pending.Wait(ctx)
		}
		if err != nil {
			line = api.Published{Error: problem.Of(err)}
		}
		g.hold.Done()
		if out.Write(line) != nil || line.Error != nil {
			break
		}
	}
	cancel()
	for g := range groups { // the reader ends now
		g.hold.Done()
	}
	return nil
}

type publishedGroup struct {
	pending *broker.Pending
	count   int
	hold    *budget.Hold // of the events
	err     error
}

// publishAll publishes frames, as many together as have come.
func (s *Server) publishAll(ctx context.Context, name string, from identity.EntityID, body *bufio.Reader, room *budget.Budget, out chan<- publishedGroup) {
	for {
		var payloads [][]byte
		var hold *budget.Hold
		size := 0
		var err error
		for len(payloads) < publishAtOnce && size < api.MaxJSON && (len(payloads) == 0 || body.Buffered() > 4) {
			var p []byte
			if p, err = canon.ReadFrameAdmitted(body, channel.MaxPayload, func(int) error {
				if hold != nil {
					return nil
				}
				var err error
				hold, err = room.Reserve(ctx, api.MaxJSON+channel.MaxPayload) // the most that are published together
				return err
			}); err != nil {
				break
			}
			payloads, size = append(payloads, p), size+len(p)
		}
		if hold != nil {
			hold.Set(int64(size))
		}
		g := publishedGroup{count: len(payloads), hold: hold}
		switch {
		case len(payloads) > 0:
			g.pending, g.err = s.rt.Channels().Submit(name, from, payloads...)
		case err == io.EOF:
			hold.Done()
			return
		case errors.Is(err, canon.ErrFrameTooLarge):
			g.err = fmt.Errorf("%w: %w", channel.ErrPayload, err)
		default:
			g.err = fmt.Errorf("%w: reading an event: %w", api.ErrBadRequest, err)
		}
		select {
		case out <- g:
		case <-ctx.Done():
			hold.Done()
			return
		}
		if g.err != nil {
			_, _ = io.Copy(io.Discard, body) // it ends when the client has heard, or is gone
			return
		}
		if err != nil && err != io.EOF {
			continue // the next round says it
		}
	}
}

// getFollow follows a channel from now on, or from that after ?after=CURSOR. What ends the
// stream after it began is its last line.
func (s *Server) getFollow(w http.ResponseWriter, r *http.Request) error {
	var after *broker.Cursor
	text := r.Header.Get("Last-Event-ID") // a browser that connects again
	if q := query.Of(r); text == "" && q.Has("after") {
		text = q.Text("after")
	}
	if text != "" {
		c, err := broker.ParseCursor(text)
		if err != nil {
			return fmt.Errorf("%w: the parameter %q: %w", api.ErrBadRequest, "after", err)
		}
		after = &c
	}
	name := r.PathValue("channel")
	if _, ok := channel.IsOutputs(name); !ok {
		if _, err := s.rt.Channels().Info(name); err != nil {
			return err
		}
	}
	out := web.NewFollowing(w, r, s.rt.Node().Budgets().Followers)
	defer out.Close()
	began := false
	begin := func() error {
		began = true
		w.WriteHeader(http.StatusOK)
		return out.Flush()
	}
	err := s.rt.Channels().Follow(r.Context(), name, after, begin, func(ev broker.Event, more bool) error {
		return out.Hold(len(ev.Payload), func() error {
			if more {
				return out.Put(convert.EventOf(ev))
			}
			return out.Write(convert.EventOf(ev))
		})
	})
	if !began {
		return err
	}
	s.logger.Debug("following a channel ended", "channel", name, "error", err)
	if err != nil && r.Context().Err() == nil {
		_ = out.Write(api.ChannelEvent{Error: problem.Of(err)}) // a client that is gone needs no word
	}
	return nil
}

func (s *Server) getSubscriptions(w http.ResponseWriter, r *http.Request) error {
	list, err := s.rt.Subscriptions().Of(web.Entity(r))
	if err != nil {
		return err
	}
	out := convert.SubscriptionsOf(list)
	key := func(v api.Subscription) string { return v.Publisher + "/" + v.Channel }
	slices.SortFunc(out, func(a, b api.Subscription) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

func (s *Server) postSubscription(w http.ResponseWriter, r *http.Request) error {
	var req api.Subscribe
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	if err := s.subscribe(r.Context(), web.Entity(r), req); err != nil {
		return err
	}
	return s.getSubscriptions(w, r)
}

func (s *Server) subscribe(ctx context.Context, id identity.EntityID, req api.Subscribe) error {
	node, err := s.mesh.FindNode(req.Publisher)
	if err != nil {
		return err
	}
	return s.rt.Subscriptions().Subscribe(ctx, id, node, req.Channel, req.Token)
}

// namingPublisher is naming for subscriptions.
func (s *Server) namingPublisher(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		known := func(ref string) (string, error) {
			id, err := s.mesh.FindNode(ref)
			if errors.Is(err, mesh.ErrUnknownNode) {
				return ref, nil // the daemon's node may know it
			}
			return id.String(), err
		}
		var err error
		if r.Method == http.MethodDelete {
			q := query.Of(r)
			var id string
			id, err = known(q.Text("publisher"))
			q.With(r, "publisher", id)
		} else {
			var req api.Subscribe
			if err = web.ReadJSON(w, r, &req); err == nil {
				req.Publisher, err = known(req.Publisher)
			}
			var b []byte
			if err == nil {
				b, err = json.Marshal(req)
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		}
		if err != nil {
			return err
		}
		return h(w, r)
	}
}

func (s *Server) deleteSubscription(w http.ResponseWriter, r *http.Request) error {
	q := query.Of(r)
	node, err := s.mesh.FindNode(q.Text("publisher"))
	if err != nil {
		return err
	}
	if err := s.rt.Subscriptions().Unsubscribe(r.Context(), web.Entity(r), node, q.Text("channel")); err != nil {
		return err
	}
	return s.getSubscriptions(w, r)
}

// spawnSubscribed subscribes a fresh daemon, or takes it away again.
func (s *Server) spawnSubscribed(ctx context.Context, id identity.EntityID, list []api.Subscribe) error {
	for _, sub := range list {
		if err := s.subscribe(ctx, id, sub); err != nil {
			return errors.Join(err, s.rt.Daemons().Remove(context.WithoutCancel(ctx), id))
		}
	}
	return nil
}

func (s *Server) getRevocations(w http.ResponseWriter, r *http.Request) error {
	out := []api.Revocation{}
	for _, rev := range s.rt.Channels().Revocations() {
		line, err := convert.RevocationOf(rev)
		if err != nil {
			return err
		}
		out = append(out, line)
	}
	key := func(v api.Revocation) string { return v.Issuer + web.Number(v.Floor) }
	slices.SortFunc(out, func(a, b api.Revocation) int { return strings.Compare(key(a), key(b)) })
	return web.WritePage(w, r, out, key)
}

func (s *Server) postRevocation(w http.ResponseWriter, r *http.Request) error {
	var req api.Revocation
	if err := web.ReadJSON(w, r, &req); err != nil {
		return err
	}
	rev, err := identity.ParseRevocationText(req.Revocation)
	if err != nil {
		return err
	}
	if err := s.rt.Channels().Revoke(r.Context(), rev); err != nil {
		return err
	}
	out, err := convert.RevocationOf(rev)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, out)
}
