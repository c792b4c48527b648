package effect

import (
	"bytes"
	"slices"

	"wasmhost.example/identity"
)

// With returns the grants without those in revoked, and with those in added. Publishing is
// revoked by node and pattern, whatever the token; a pattern that is added takes the place
// of one alike, of whichever node: the daemon's code names a channel without its node. What is
// returned keeps nothing of g, added or revoked.
func (g *Grants) With(added, revoked Grants) Grants {
	out := g.Clone()
	out.Publish = slices.DeleteFunc(out.Publish, func(p PublishGrant) bool {
		gone := slices.ContainsFunc(revoked.Publish, func(q PublishGrant) bool { return q.Node == p.Node && q.Pattern == p.Pattern })
		return gone || slices.ContainsFunc(added.Publish, func(q PublishGrant) bool { return q.Pattern == p.Pattern })
	})

	out.Send = slices.DeleteFunc(out.Send, func(id identity.EntityID) bool { return slices.Contains(revoked.Send, id) })
	out.SendAny = out.SendAny && !revoked.SendAny || added.SendAny
	out.Publish = append(out.Publish, added.Publish...)
	out.Send = append(out.Send, added.Send...)
	return out.Clone()
}

// Equal reports whether both permit the same, by the same tokens.
func (g *Grants) Equal(o *Grants) bool {
	a, b := g.Clone(), o.Clone()
	return a.SendAny == b.SendAny && slices.Equal(a.Send, b.Send) && slices.EqualFunc(a.Publish, b.Publish, func(p, q PublishGrant) bool {
		return p.Node == q.Node && p.Pattern == q.Pattern && bytes.Equal(p.Token, q.Token)
	})
}
