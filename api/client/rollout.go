package client

import (
	"context"
	"fmt"

	"wasmhost.example/api"
)

// Rollout upgrades all daemons of a kind, or of a group. fn, where it is not nil, gets each
// step but the last. The error of a rollout that did not upgrade all is a *api.Problem, beside
// the summary.
func (d Daemons) Rollout(ctx context.Context, req api.Rollout, fn func(api.RolloutStep) error) (*api.RolloutSummary, error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}

	res, err := d.c.do(ctx, "POST", "upgrades", body, nil)
	if err != nil {
		return nil, err
	}

	defer res.Close()
	var sum *api.RolloutSummary
	var failed *api.Problem
	err = eachLine(ctx, d.c, res, func(st api.RolloutStep) error {
		if st.Summary != nil || st.Error != nil {
			sum, failed = st.Summary, st.Error
			return nil
		}
		if fn == nil {
			return nil
		}
		if fn == nil {
			return nil
		}

		return fn(st)
	})

	switch {
	case err != nil:
		return sum, err
	case failed != nil:
		return sum, failed
	case sum == nil:
		return nil, fmt.Errorf("%w: the rollout's answer ended before its summary: ask again, it goes on where it is", ErrUnreachable)
	}

	return sum, nil
}
