package apply

import (
	"context"
	"errors"
	"slices"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
)

// presentOf asks the node what it has of what want names and made has. A nil want asks for
// all that is on the node.
func presentOf(ctx context.Context, c *client.Client, want *App, made []api.Applied) (*Present, error) {
	p := &Present{Kinds: make(map[string]api.Kind), Channels: make(map[string]api.Channel), Daemons: make(map[string]Running), Groups: make(map[string]GroupNow), Nodes: make(map[string]string), Entities: make(map[string]string)}
	kinds, err := c.Kinds().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if k.Digest != "" {
			p.Kinds[k.Name] = k
		}
	}
	channels, err := c.Channels().List(ctx, client.AtNode{})
	if err != nil {
		return nil, err
	}
	for _, ch := range channels {
		p.Channels[ch.Name] = ch
	}
	nodes, err := c.Nodes().List(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		p.Nodes[n.NodeID], p.Nodes[n.Name] = n.NodeID, n.NodeID
	}
	if err := p.groups(ctx, c, want); err != nil {
		return nil, err
	}
	return p, p.daemons(ctx, c, want, made)
}

func (p *Present) groups(ctx context.Context, c *client.Client, want *App) error {
	groups, err := c.Groups().List(ctx, want != nil)
	if err != nil {
		return err
	}
	for _, g := range groups {
		now := GroupNow{Group: g, Modules: make(map[string]string)}
		if want == nil || slices.ContainsFunc(want.Groups, func(w Group) bool { return w.Name == g.Name }) {
			whole, err := c.Groups().Get(ctx, g.Name)
			if err != nil {
				return err
			}
			for _, m := range whole.Members {
				d, err := c.Daemons().Get(ctx, m.EntityID)
				if err != nil {
					return err
				}
				now.Modules[m.EntityID] = d.Module
			}
		}
		p.Groups[g.Name] = now
	}
	return nil
}

func (p *Present) daemons(ctx context.Context, c *client.Client, want *App, made []api.Applied) error {
	list, err := c.Daemons().List(ctx, want != nil)
	if err != nil {
		return err
	}
	asked := make(map[string]bool)
	if want != nil {
		for _, d := range want.Daemons {
			asked[d.Name] = true
		}
		for _, g := range want.Grants {
			asked[g.Daemon] = true
		}
		for _, m := range made {
			switch name, _, _ := cutGrant(m.Name); m.Type {
			case "daemon":
				asked[m.Name] = true
			case "grant":
				asked[name] = true
			}
		}
	}
	for _, d := range list {
		if d.Name == "" {
			continue // it left, and its node does not answer
		}
		p.Entities[d.Name], p.Entities[d.EntityID] = d.EntityID, d.EntityID
		r := Running{Daemon: d}
		if want == nil || asked[d.Name] {
			if err := r.ask(ctx, c); err != nil {
				return err
			}
		}
		p.Daemons[d.Name] = r
	}
	return nil
}

// ask asks for what a list of daemons does not say.
func (r *Running) ask(ctx context.Context, c *client.Client) error {
	whole, err := c.Daemons().Get(ctx, r.EntityID)
	if err != nil {
		return err
	}
	r.Daemon, r.Subscribe = whole, whole.Subscriptions
	limits, err := c.Daemons().Limits(ctx, r.EntityID)
	if err != nil {
		return err
	}
	r.Own = limits.Own
	r.Grants, err = c.Daemons().Grants(ctx, r.EntityID)
	return err
}

// recordOf is what the node remembers of an application; where it remembers nothing, a new one.
func recordOf(ctx context.Context, c *client.Client, name string) (api.Application, error) {
	app, err := c.Applications().Get(ctx, name)
	var p *api.Problem
	if errors.As(err, &p) && p.Code == "application-not-found" {
		return api.Application{Name: name, Made: []api.Applied{}}, nil
	}
	return app, err
}
