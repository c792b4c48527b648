package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// disk has something happen to the data directory of a node that has no vote, while it is
// down:
//
//	older   | it is as it was when it was copied, some rounds ago
//	shorter | the end of its store's log is gone, as of a disk that lied about a sync
//	lost    | it is empty: the node is removed from the cluster, and another one comes
//
// Before it goes on the whole cluster may stop, or one other node be away. Each time a
// daemon's other copies in sync are whole: nothing acknowledged may be gone.
func (t *trial) disk(ctx context.Context) (string, error) {
	i := 1 + t.rng.IntN(len(t.nodes)-1)
	n := t.nodes[i]
	draw := t.rng.IntN(6)
	saved, err := os.Stat(n.Data() + ".copy")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if saved == nil || draw == 0 {
		return "copied the disk of " + n.Name, t.copyDisk(ctx, n)
	}

	down := []*fleet.Node{n}
	what := ""
	switch t.rng.IntN(3) {
	case 0:
		what, down = ", all were down", slices.Clone(t.nodes)
	case 1:
		other := t.nodes[t.rng.IntN(len(t.nodes))]
		if other != n {
			what, down = ", "+other.Name+" was away", append(down, other)
		}
	}
	for _, d := range down {
		if err := d.Kill(); err != nil {
			return "", err
		}
	}
	if len(down) == 1 {
		fleet.Pause(ctx, time.Duration(t.rng.Int64N(int64(4*t.lease)))) // others take over, or do not yet
	}
	switch {
	case draw < 3:
		what = "an older disk for " + n.Name + what
		err = errors.Join(os.RemoveAll(n.Data()), os.CopyFS(n.Data(), os.DirFS(n.Data()+".copy")))
	case draw < 5:
		what = "a shorter log for " + n.Name + what
		err = cutLog(n.Data(), t.rng.Int64N)
	default:
		what = "no disk any more for " + n.Name + what
		err = os.RemoveAll(n.Data())
	}
	t.disks++
	t.rng.Shuffle(len(down), func(i, j int) { down[i], down[j] = down[j], down[i] })
	for _, d := range down {
		if d == n && draw == 5 {
			continue
		}
		if _, launchErr := d.Launch(); launchErr != nil { // none is ready before the others are there
			err = errors.Join(err, launchErr)
		}
	}
	if err == nil && draw == 5 {
		err = t.replace(ctx, i)
	}
	return what, err
}

// current waits until every copy that the directory calls in sync is: each daemon has
// acknowledged events since all nodes are there.
func (t *trial) current(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for _, n := range t.nodes {
		for n.Client.Ready(limit) != nil {
			if limit.Err() != nil {
				return fmt.Errorf("node %s is not ready", n.Name)
			}
			fleet.Pause(limit, 20*time.Millisecond)
		}
	}
	for _, s := range t.senders {
		if s.Batch > 0 {
			continue // it may have answers from before
		}
		for upto := s.Acknowledged() + 2; s.Acknowledged() < upto; {
			if limit.Err() != nil {
				return fmt.Errorf("daemon %s acknowledges nothing", s.Daemon)
			}
			fleet.Pause(limit, 5*time.Millisecond)
		}
	}
	return t.inSync(ctx)
}

// copyDisk keeps a copy of the node's data directory, as it is while the node is down.
func (t *trial) copyDisk(ctx context.Context, n *fleet.Node) error {
	if err := n.Kill(); err != nil {
		return err
	}
	to := n.Data() + ".copy"
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(n.Data()))); err != nil {
		return err
	}
	return n.Start(ctx)
}

// cutLog takes the end of the store's newest log away: up to 64 KiB.
func cutLog(data string, random func(int64) int64) error {
	var log string
	err := filepath.WalkDir(data, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, ".log") && (log == "" || filepath.Base(path) > filepath.Base(log)) {
			log = path
		}
		return err
	})
	if err != nil {
		return err
	}
	if log == "" {
		return fmt.Errorf("no store's log in %s", data)
	}
	info, err := os.Stat(log)
	if err != nil {
		return err
	}
	return os.Truncate(log, info.Size()-random(1+min(info.Size(), 64<<10)))
}

// replace removes the node with index i, whose disk is gone, from the cluster, and has
// another one come in its place.
func (t *trial) replace(ctx context.Context, i int) error {
	old := t.nodes[i]
	voter := t.nodes[0].Client
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		s, err := voter.Cluster().Status(limit)
		id := ""
		for _, m := range s.Members {
			if m.Name == old.Name {
				id = m.NodeID
			}
		}
		if err == nil && id == "" {
			err = errors.New("the voter does not know it yet")
		}
		if err == nil {
			_, err = voter.Cluster().RemoveMember(limit, id)
		}
		if err == nil {
			break
		}
		if limit.Err() != nil {
			return fmt.Errorf("removing node %s: %w", old.Name, err)
		}
		fleet.Pause(limit, 50*time.Millisecond)
	}
	token, err := voter.Node().JoinToken(limit, time.Minute, "all,join")
	if err != nil {
		return err
	}
	old.Join = token.Token
	defer func() { old.Join = "" }()
	return errors.Join(os.RemoveAll(old.Data()+".copy"), old.Start(ctx))
}
