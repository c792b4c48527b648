package client

import (
	"context"

	"wasmhost.example/api"
)

// Applications are what was made by wasmhost apply, as the node remembers it.
type Applications struct{ c *Client }

// Applications returns the topic of applications.
func (c *Client) Applications() Applications { return Applications{c} }

// List lists the applications that the node remembers.
func (a Applications) List(ctx context.Context) (out []api.Application, err error) {
	return pages[api.Application](ctx, a.c, "applications")
}

// Get returns one application; a *api.Problem with the code application-not-found where the
// node remembers none of the name.
func (a Applications) Get(ctx context.Context, name string) (out api.Application, err error) {
	return out, a.c.call(ctx, "GET", "applications/"+segment(name), nil, &out)
}

// Put makes the node remember an application, in the place of the revision that it names, and
// returns it with the next one. Where somebody else changed it meanwhile, that is a
// *api.Problem with the code application-changed. One that made nothing is forgotten.
func (a Applications) Put(ctx context.Context, app api.Application) (out api.Application, err error) {
	body, err := jsonBody(app)
	if err != nil {
		return out, err
	}
	return out, a.c.call(ctx, "PUT", "applications/"+segment(app.Name), body, &out)
}
