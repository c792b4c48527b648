package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"wasmhost.example/api"
)

// Migrate moves the daemon and returns when it has moved; fn gets what
// happens, nil: nobody does. With req.Detach it returns nil, nil at once.
func (c *Client) Migrate(ctx context.Context, ref string, req api.Migrate, fn func(api.MigrationStep)) (*api.MigrationReport, error) {
	body, err := jsonBody(req)
	if err != nil {
		return nil, err
	}

	res, err := c.do(ctx, "POST", daemonPath(ref, "/migrate"), body, nil)
	if err != nil {
		return nil, err
	}

	defer res.Close()
	var report *api.MigrationReport
	err = eachLine(ctx, c, res, func(s api.MigrationStep) error {
		if s.Error != nil {
			return s.Error
		}
		if s.Phase != "" && fn != nil {
			fn(s)
		}

		report = s.Report
		return nil
	})

	if err == nil && report == nil && !req.Detach {
		err = fmt.Errorf("%w: the node stopped answering while the daemon migrated", ErrUnreachable)
	}
	return report, err
}

// Receipts returns those of the daemon's moves, by epoch.
func (d Daemons) Receipts(ctx context.Context, ref string) (out []api.Receipt, err error) {
	res, err := d.c.do(ctx, "GET", daemonPath(ref, "/receipts"), nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	return out, d.c.answer(res).decode(ctx, &out)
}

// Receipt returns the bytes of the receipt of the daemon's move to an epoch.
func (d Daemons) Receipt(ctx context.Context, ref string, epoch uint64) ([]byte, error) {
	res, err := d.c.do(ctx, "GET", daemonPath(ref, "/receipts/"+strconv.FormatUint(epoch, 10)), nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	return io.ReadAll(io.LimitReader(res, 1<<20))
}

// List returns the migrations that run or wait for the other node and, with all, those
// that are over.
func (m Migrations) List(ctx context.Context, all bool) (out []api.Migration, err error) {
	path := "migrations"
	if all {
		path += "?all=true"
	}
	return pages[api.Migration](ctx, m.c, path)
}

// Resolve settles a migration whose other side is gone for good.
func (m Migrations) Resolve(ctx context.Context, ref string, req api.Resolve) (out api.Mended, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return out, err
	}
	return out, m.c.call(ctx, "POST", "migrations/"+segment(ref)+"/resolve", bytes.NewReader(body), &out)
}
