package client

import (
	"context"

	"wasmhost.example/api"
)

// Create makes a group and its members.
func (g Groups) Create(ctx context.Context, req api.CreateGroup) (out api.Group, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, g.c.call(ctx, "POST", "groups", body, &out)
}

// List lists the node's groups, and with all those of its peers.
func (g Groups) List(ctx context.Context, all bool) ([]api.Group, error) {
	path := "groups"
	if all {
		path += "?all=true"
	}
	return pages[api.Group](ctx, g.c, path)
}

// Get returns a group, wherever it is kept.
func (g Groups) Get(ctx context.Context, name string) (out api.Group, err error) {
	return out, g.c.call(ctx, "GET", "groups/"+segment(name), nil, &out)
}

// GetHere returns the group that the node itself keeps, though others keep one of the
// name.
func (g Groups) GetHere(ctx context.Context, name string) (out api.Group, err error) {
	return out, g.c.call(ctx, "GET", "groups/"+segment(name)+"?local=true", nil, &out)
}

// Remove ends a group's members, and forgets it.
func (g Groups) Remove(ctx context.Context, name string) (out api.Group, err error) {
	return out, g.c.call(ctx, "DELETE", "groups/"+segment(name), nil, &out)
}

// RemoveHere is Remove of the group that the node itself keeps, though others
// keep one of the name.
func (g Groups) RemoveHere(ctx context.Context, name string) (out api.Group, err error) {
	return out, g.c.call(ctx, "DELETE", "groups/"+segment(name)+"?local=true", nil, &out)
}

// Scale makes or ends members, until there are so many.
func (g Groups) Scale(ctx context.Context, name string, size int) (out api.Group, err error) {
	body, err := jsonBody(api.ScaleGroup{Size: size})
	if err != nil {
		return out, err
	}
	return out, g.c.call(ctx, "POST", "groups/"+segment(name)+"/scale", body, &out)
}

// Heal checks a group's members and recreates those that are lost.
func (g Groups) Heal(ctx context.Context, name string, req api.HealGroup) (out api.Group, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, g.c.call(ctx, "POST", "groups/"+segment(name)+"/heal", body, &out)
}
