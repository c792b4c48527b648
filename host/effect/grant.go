package effect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/identity"
)

// Grants are what a daemon may do. The zero Grants permit nothing but timers,
// which need none.
type Grants struct {
	_       struct{} `cbor:",toarray"`
	Publish []PublishGrant
	Send    []identity.EntityID // to whom it may send
	SendAny bool                // to everybody
}

// PublishGrant lets a daemon publish on channels of a node. Its code names the
// channel alone: the node is the grant's, wherever the daemon goes.
type PublishGrant struct {
	_       struct{} `cbor:",toarray"`
	Node    identity.NodeID
	Pattern string // a channel's name; or PREFIX/*, all beneath; or *
	Token   []byte // the permission that the channel asks for; empty: none
}

// Bounds of grants.
const (
	MaxPublishGrants = 64      // channels or patterns that a daemon may publish on
	MaxSendGrants    = 1024    // daemons that a daemon may send to
	maxTokenBytes    = 8 << 10 // bytes of a token of a grant
)

// Check returns nil, or what is wrong; that wraps ErrBadGrant.
func (g *Grants) Check() error {
	if len(g.Publish) > MaxPublishGrants || len(g.Send) > MaxSendGrants {
		return fmt.Errorf("%w: %d channels and %d daemons, at most %d and %d are granted", ErrBadGrant, len(g.Publish), len(g.Send), MaxPublishGrants, MaxSendGrants)
	}

	for i, p := range g.Publish {
		if err := p.check(); err != nil {
			return err
		}
		for _, q := range g.Publish[:i] {
			if q.Pattern == p.Pattern {
				return fmt.Errorf("%w: %q is granted twice: the daemon's code names a channel without its node", ErrBadGrant, p.Pattern)
			}
		}
	}

	for _, id := range g.Send {
		if id.IsZero() {
			return fmt.Errorf("%w: to send to nobody", ErrBadGrant)
		}
	}
	return nil
}

func (p *PublishGrant) check() error {
	if p.Node == 0 || len(p.Token) > maxTokenBytes {
		return fmt.Errorf("%w: %q of node %s, with a token of %d bytes", ErrBadGrant, p.Pattern, p.Node, len(p.Token))
	}

	name, prefix := strings.CutSuffix(p.Pattern, "/*")
	if p.Pattern == "*" {
		return nil
	}
	if err := identity.ValidChannel(name); err != nil {
		return fmt.Errorf("%w: %q: %w", ErrBadGrant, p.Pattern, err)
	}
	if !prefix && (name == "out" || strings.HasPrefix(name, "out/")) {
		return fmt.Errorf("%w: %q: names that begin with out/ are those of daemons' outputs", ErrBadGrant, p.Pattern)
	}

	return nil
}

// match returns how well the pattern fits, 0 where it does not.
func (p *PublishGrant) match(name string) int {
	prefix, all := strings.CutSuffix(p.Pattern, "*")
	switch {
	case !all && p.Pattern == name:
		return 1 << 16
	case all && strings.HasPrefix(name, prefix) && len(name) > len(prefix):
		return 1 + len(prefix)
	}
	return 0
}

// MayPublish returns the grant under which the channel is published on, the most
// specific; nil where there is none.
func (g *Grants) MayPublish(name string) *PublishGrant {
	var best *PublishGrant
	most := 0
	for i := range g.Publish {
		if n := g.Publish[i].match(name); n > most {
			best, most = &g.Publish[i], n
		}
	}
	return best
}

// MaySend reports whether the daemon may send to another.
func (g *Grants) MaySend(to identity.EntityID) bool { return g.SendAny || slices.Contains(g.Send, to) }

// IsZero reports whether nothing is granted.
func (g *Grants) IsZero() bool { return len(g.Publish) == 0 && len(g.Send) == 0 && !g.SendAny }

// inOrder reports whether g is as Clone makes it.
func (g *Grants) inOrder() bool {
	for i := 1; i < len(g.Publish); i++ {
		if g.Publish[i-1].Pattern >= g.Publish[i].Pattern {
			return false
		}
	}

	for i := 1; i < len(g.Send); i++ {
		if g.Send[i-1].Compare(g.Send[i]) >= 0 {
			return false
		}
	}
	return true
}

// Clone returns a copy in order, which keeps nothing of g.
func (g *Grants) Clone() Grants {
	c := Grants{SendAny: g.SendAny, Send: slices.Clone(g.Send)}
	for _, p := range g.Publish {
		p.Token = slices.Clone(p.Token)
		c.Publish = append(c.Publish, p)
	}

	slices.SortFunc(c.Publish, func(a, b PublishGrant) int { return cmp.Compare(a.Pattern, b.Pattern) })
	slices.SortFunc(c.Send, identity.EntityID.Compare)
	c.Send = slices.Compact(c.Send)
	return c
}
