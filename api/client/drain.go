package client

import (
	"context"
	"fmt"

	"wasmhost.example/api"
)

// Drain has the node drained that node names. fn, where it is not nil, gets each
// step but the last. The error of a drain that left daemons behind is a *api.Problem,
// beside the summary.
func (n Nodes) Drain(ctx context.Context, node string, req api.Drain, fn func(api.DrainStep) error) (*api.DrainSummary, error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}

	res, err := n.c.do(ctx, "POST", "nodes/"+segment(node)+"/drain", body, nil)
	if err != nil {
		return nil, err
	}

	defer res.Close()
	var sum *api.DrainSummary
	var left *api.Problem
	err = eachLine(ctx, n.c, res, func(s api.DrainStep) error {
		if s.Summary != nil || s.Error != nil {
			sum, left = s.Summary, s.Error
			return nil
		}
		if fn == nil {
			return nil
		}
		if fn == nil {
			return nil
		}

		return fn(s)
	})

	switch {
	case err != nil:
		return sum, err
	case left != nil:
		return sum, left
	case sum == nil && !req.Detach:
		return nil, fmt.Errorf("%w: the node stopped answering while it was drained", ErrUnreachable)
	}

	return sum, nil
}

// Undrain makes the node that node names take daemons again.
func (n Nodes) Undrain(ctx context.Context, node string) (out api.Node, err error) {
	return out, n.c.call(ctx, "DELETE", "nodes/"+segment(node)+"/drain", nil, &out)
}
