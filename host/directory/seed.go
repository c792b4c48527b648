package directory

import (
	"context"
	"errors"
	"sync"
)

// seeders is how many daemons Seed enters at a time.
const seeders = 32

// Seed enters daemons into a directory that begins, with their names. What the directory
// knows already stays, so that it can be called again. It asks for no session: nobody is
// a member yet.
func Seed(ctx context.Context, e Engine, daemons []Daemon) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan Daemon)
	var work sync.WaitGroup

	for range seeders {
		work.Go(func() {
			for d := range next {
				if err := seed(ctx, e, d); err != nil {
					cancel(err)
				}
			}
		})
	}

	for _, d := range daemons {
		next <- d
	}

	close(next)
	work.Wait()
	return context.Cause(ctx)
}

func seed(ctx context.Context, e Engine, d Daemon) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}

	record, err := d.encode()
	if err != nil {
		return err
	}

	name, err := encodeName(d.Entity)
	if err != nil {
		return err
	}

	absent, unnamed := Condition{Key: daemonKey(d.Entity)}, Condition{Key: nameKey(d.Name)}
	_, err = e.Commit(ctx, []Condition{absent, unnamed}, []Write{{absent.Key, record}, {unnamed.Key, name}})
	if errors.Is(err, ErrConflict) { // its name is another's, or it is there
		_, err = e.Commit(ctx, []Condition{absent}, []Write{{absent.Key, record}})
	}

	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// Banish records that nodes were removed from the cluster before the directory began.
func Banish(ctx context.Context, e Engine, nodes []Node) error {
	for _, n := range nodes {
		record, err := n.encode()
		if err == nil {
			_, err = e.Commit(ctx, nil, []Write{{removedKey(n.ID()), record}})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
