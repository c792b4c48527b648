// Package etcd has the directory of a cluster stand on etcd: on one that is there
// already (Dial), or on members that the nodes run themselves (Start).
package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"wasmhost.example/host/directory"
)

// Engine is a directory.Engine whose keys stand in etcd behind a prefix. A key's
// revision is etcd's mod revision.
type Engine struct {
	client *clientv3.Client
	prefix string
}

// NewEngine makes an engine of a client, which stays the caller's. What belongs
// to one cluster has the prefix "wasmhost/NAME/".
func NewEngine(c *clientv3.Client, name string) *Engine {
	return &Engine{client: c, prefix: "wasmhost/" + name + "/"}
}

// Commit implements directory.Engine.
func (e *Engine) Commit(ctx context.Context, conditions []directory.Condition, writes []directory.Write) (int64, error) {
	compares := make([]clientv3.Cmp, len(conditions))
	for i, c := range conditions {
		compares[i] = clientv3.Compare(clientv3.ModRevision(e.prefix+c.Key), "=", c.Revision)
	}

	ops := make([]clientv3.Op, len(writes))
	for i, w := range writes {
		if w.Value == nil {
			ops[i] = clientv3.OpDelete(e.prefix + w.Key)
		} else {
			ops[i] = clientv3.OpPut(e.prefix+w.Key, string(w.Value))
		}
	}

	res, err := e.client.Txn(ctx).If(compares...).Then(ops...).Commit()
	if err != nil {
		return 0, because(ctx, err)
	}
	if !res.Succeeded {
		return 0, directory.ErrConflict
	}

	return res.Header.Revision, nil
}

// Get implements directory.Engine: the read is linearizable.
func (e *Engine) Get(ctx context.Context, key string) ([]byte, int64, error) {
	res, err := e.client.Get(ctx, e.prefix+key)
	if err != nil {
		return nil, 0, because(ctx, err)
	}
	if len(res.Kvs) == 0 {
		return nil, 0, nil
	}
	return res.Kvs[0].Value, res.Kvs[0].ModRevision, nil
}

// page is how many keys one request reads.
const page = 2000

// Watch implements directory.Engine. It ends when the member that it watches at
// has lost the others, or etcd has forgotten what came meanwhile.
func (e *Engine) Watch(ctx context.Context, prefix string, fn func(*directory.Change)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	from, end := e.prefix+prefix, clientv3.GetPrefixRangeEnd(e.prefix+prefix)
	var revision int64

	for {
		options := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(page)}
		if revision != 0 {
			options = append(options, clientv3.WithRev(revision))
		}

		res, err := e.client.Get(ctx, from, options...)
		if err != nil {
			return because(ctx, err)
		}
		if revision == 0 {
			revision = res.Header.Revision
		}

		for _, kv := range res.Kvs {
			fn(e.change(kv))
		}

		if !res.More || len(res.Kvs) == 0 {
			break
		}

		from = string(res.Kvs[len(res.Kvs)-1].Key) + "\x00"
	}

	fn(nil)
	for res := range e.client.Watch(ctx, e.prefix+prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1)) {
		if err := res.Err(); err != nil {
			return because(ctx, err)
		}
		for _, ev := range res.Events {
			c := e.change(ev.Kv)
			if ev.Type == mvccpb.Event_DELETE {
				c.Value = nil
			}
			fn(c)
		}
	}

	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errWatch
}

var errWatch = errors.New("etcd ended the watch")

func (e *Engine) change(kv *mvccpb.KeyValue) *directory.Change {
	c := &directory.Change{Key: strings.TrimPrefix(string(kv.Key), e.prefix), Value: kv.Value, Revision: kv.ModRevision}
	if c.Value == nil {
		c.Value = []byte{}
	}
	return c
}

// because is why a request failed: what ended its context, where that did.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, rpctypes.ErrNoLeader) || errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		err = ErrNoMajority
	}
	return fmt.Errorf("asking etcd: %w", err)
}

// ErrNoMajority says that the members of etcd that answer are too few to decide
// anything.
var ErrNoMajority = errors.New("too few of the cluster's members reach each other")
