package client

import (
	"context"
	"net/http"
	"net/url"
	"wasmhost.example/api"
)

// AtNode names the channel of which node a request is about, and the token with
// which a node that is not its own asks.
type AtNode struct {
	Node  string // id, unique prefix or name; empty: the node that is asked
	Token string // text of a permission token; empty: none
}

func (a AtNode) query(q url.Values) string {
	if a.Node != "" {
		q.Set("node", a.Node)
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func (a AtNode) header() http.Header {
	h := http.Header{}
	if a.Token != "" {
		h.Set(api.TokenHeader, a.Token)
	}
	return h
}

// Create makes a channel of the node.
func (cs Channels) Create(ctx context.Context, req api.CreateChannel) (out api.Channel, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, cs.c.call(ctx, "POST", "channels", body, &out)
}

// List lists the channels of a node.
func (cs Channels) List(ctx context.Context, at AtNode) (out []api.Channel, err error) {
	return out, cs.c.callWith(ctx, "GET", "channels"+at.query(url.Values{}), at.header(), &out)
}

func channelPath(name, rest string) string { return "channels/" + segment(name) + rest }

// Get returns one channel with its subscribers.
func (cs Channels) Get(ctx context.Context, name string, at AtNode) (out api.Channel, err error) {
	return out, cs.c.callWith(ctx, "GET", channelPath(name, at.query(url.Values{})), at.header(), &out)
}

// Remove forgets a channel and its events.
func (cs Channels) Remove(ctx context.Context, name string, at AtNode) (out api.Channel, err error) {
	return out, cs.c.callWith(ctx, "DELETE", channelPath(name, at.query(url.Values{})), at.header(), &out)
}

// PublishAll publishes the events that next returns, in order and pipelined,
// until it returns io.EOF; fn hears which have become durable. Whether it may
// is asked first: a node that refuses a request does not read what comes with it.
func (cs Channels) PublishAll(ctx context.Context, name string, at AtNode, next func() ([]byte, error), fn func(api.Published) error) error {
	path := channelPath(name, "/publish"+at.query(url.Values{}))
	asked, err := cs.c.do(ctx, "POST", path, nil, at.header())
	if err != nil {
		return err
	}
	if err := asked.Close(); err != nil {
		return broken(ctx, err)
	}

	return pipeline(ctx, cs.c, path, at.header(), next, func(p api.Published, enough func()) error {
		if p.Error != nil {
			enough()
			return p.Error
		}
		return fn(p)
	})
}

// Follow calls fn with the channel's events from now on, or from that after a
// cursor if it is not empty (a sequence, or BIRTH:SEQUENCE as events and channels say it),
// until ctx ends, fn returns an error, or the stream ends. A *api.Problem says why the node
// ended it: channel-removed, or channel-changed for a cursor of another channel of the name.
func (cs Channels) Follow(ctx context.Context, name string, at AtNode, after string, fn func(api.ChannelEvent) error) error {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}

	res, err := cs.c.do(ctx, "GET", channelPath(name, "/events"+at.query(q)), nil, at.header())
	if err != nil {
		return err
	}

	defer res.Close()
	return eachLine(ctx, cs.c, res, func(ev api.ChannelEvent) error {
		if ev.Error != nil {
			return ev.Error
		}
		return fn(ev)
	})
}

// Subscribe subscribes a daemon to a channel, and returns its subscriptions.
func (cs Channels) Subscribe(ctx context.Context, ref string, req api.Subscribe) (out []api.Subscription, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}
	return out, cs.c.call(ctx, "POST", daemonPath(ref, "/subscriptions"), body, &out)
}

// Unsubscribe ends a subscription, and returns those that are left.
func (cs Channels) Unsubscribe(ctx context.Context, ref, publisher, channel string) (out []api.Subscription, err error) {
	q := url.Values{"publisher": {publisher}, "channel": {channel}}
	return out, cs.c.call(ctx, "DELETE", daemonPath(ref, "/subscriptions?"+q.Encode()), nil, &out)
}

// Revoke has the node, and its peers, take a revocation into account.
func (cs Channels) Revoke(ctx context.Context, text string) (out api.Revocation, err error) {
	body, err := jsonBody(api.Revocation{Revocation: text})
	if err != nil {
		return out, err
	}
	return out, cs.c.call(ctx, "POST", "revocations", body, &out)
}

// Revocations lists the revocations that the node knows.
func (cs Channels) Revocations(ctx context.Context) (out []api.Revocation, err error) {
	return out, cs.c.call(ctx, "GET", "revocations", nil, &out)
}
