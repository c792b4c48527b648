package client

import (
	"context"
	"strconv"

	"wasmhost.example/api"
	"wasmhost.example/identity"
)

// Sighting returns what the node knows of a daemon by itself.
func (c *Client) Sighting(ctx context.Context, id identity.EntityID) (out api.Sighting, err error) {
	return out, c.call(ctx, "GET", "sightings/"+id.String(), nil, &out)
}

// RemoveAt removes a daemon that stands at the epoch; one at another epoch stays, which is
// an error.
func (c *Client) RemoveAt(ctx context.Context, ref string, epoch uint64) (out api.Daemon, err error) {
	return out, c.call(ctx, "DELETE", daemonPath(ref, "?epoch="+strconv.FormatUint(epoch, 10)), nil, &out)
}

// CreateGroup makes a group and its members.
func (c *Client) CreateGroup(ctx context.Context, req api.CreateGroup) (out api.Group, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "groups", body, &out)
}

// Groups lists the node's groups, and with all those of its peers.
func (c *Client) Groups(ctx context.Context, all bool) ([]api.Group, error) {
	path := "groups"
	if all {
		path += "?all=true"
	}
	return pages[api.Group](ctx, c, path)
}

// Group returns a group, wherever it is kept.
func (c *Client) Group(ctx context.Context, name string) (out api.Group, err error) {
	return out, c.call(ctx, "GET", "groups/"+segment(name), nil, &out)
}

// GroupHere returns the group that the node itself keeps, though others keep one of the
// name.
func (c *Client) GroupHere(ctx context.Context, name string) (out api.Group, err error) {
	return out, c.call(ctx, "GET", "groups/"+segment(name)+"?local=true", nil, &out)
}

// RemoveGroup ends a group's members, and forgets it.
func (c *Client) RemoveGroup(ctx context.Context, name string) (out api.Group, err error) {
	return out, c.call(ctx, "DELETE", "groups/"+segment(name), nil, &out)
}

// RemoveGroupHere is RemoveGroup of the group that the node itself keeps, though others
// keep one of the name.
func (c *Client) RemoveGroupHere(ctx context.Context, name string) (out api.Group, err error) {
	return out, c.call(ctx, "DELETE", "groups/"+segment(name)+"?local=true", nil, &out)
}

// ScaleGroup makes or ends members, until there are so many.
func (c *Client) ScaleGroup(ctx context.Context, name string, size int) (out api.Group, err error) {
	body, err := jsonBody(api.ScaleGroup{Size: size})
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "groups/"+segment(name)+"/scale", body, &out)
}

// HealGroup checks a group's members and recreates those that are lost.
func (c *Client) HealGroup(ctx context.Context, name string, req api.HealGroup) (out api.Group, err error) {
	body, err := jsonBody(req)
	if err != nil {
		return out, err
	}
	return out, c.call(ctx, "POST", "groups/"+segment(name)+"/heal", body, &out)
}
