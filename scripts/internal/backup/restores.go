package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// files makes a backup in a file for a recipient, and damages it.
func (t *trial) files(ctx context.Context) error {
	var key struct {
		Seal string `json:"seal_key"`
	}
	if err := t.json(ctx, t.old, &key, "identity", "new", t.path("recipient.key")); err != nil {
		return err
	}
	file := t.path("one.backup")
	if _, err := t.run1(ctx, t.old, 0, "backup", "create", file, "--recipient", key.Seal); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 4, "backup", "create", file, "--recipient", key.Seal); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 0, "backup", "restore", file, "--data", t.path("from-file"), "--identity", t.path("recipient.key")); err != nil {
		return err
	}
	if err := os.WriteFile(t.path("wrong"), []byte("wrong\n"), 0o600); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 5, "backup", "restore", t.place, "--data", t.path("never"), "--passphrase-file", t.path("wrong")); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 10, "backup", "verify", file); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 10, "backup", "restore", file, "--data", t.path("never"), "--identity", t.path("recipient.key")); err != nil {
		return err
	}
	if left, err := filepath.Glob(t.path("never*")); err != nil || len(left) > 0 {
		return errors.Join(fmt.Errorf("a restoration that failed leaves %v", left), err)
	}
	fmt.Println("backup: a file for a recipient is restored; a wrong passphrase is refused; one bit that flipped is found, and not restored")
	return nil
}

// s3 makes two backups in an S3 store, and restores the last.
func (t *trial) s3(ctx context.Context) error {
	if t.endpoint == "" {
		return nil
	}
	at, s3 := []string{"--s3-endpoint", t.endpoint}, "s3://backups/node/old"
	with := func(args ...string) []string { return append(args, at...) }
	for range 2 {
		if _, err := t.run1(ctx, t.old, 0, with("backup", "create", s3, "--passphrase-file", t.path("pass"))...); err != nil {
			return err
		}
	}
	var list []struct {
		ID     string `json:"backup"`
		Parent string `json:"parent"`
	}
	if err := t.json(ctx, t.old, &list, with("backup", "ls", s3)...); err != nil {
		return err
	}
	if len(list) != 2 || list[1].Parent != list[0].ID {
		return fmt.Errorf("the store lists %+v", list)
	}
	if _, err := t.run1(ctx, t.old, 0, with("backup", "verify", s3)...); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 3, with("backup", "verify", s3+"/nothing")...); err != nil {
		return err
	}
	if _, err := t.run1(ctx, t.old, 0, with("backup", "restore", s3, "--data", t.path("from-s3"), "--passphrase-file", t.path("pass"))...); err != nil {
		return err
	}
	fmt.Println("backup: two backups in an S3 store share their objects, are verified, and the last is restored")
	return nil
}

// restored starts a node on what is restored of the last backup.
func (t *trial) restored(ctx context.Context, name string) (*fleet.Node, error) {
	n, err := t.node(name)
	if err != nil {
		return nil, err
	}
	if _, err := t.run1(ctx, n, 0, "backup", "restore", t.place, "--data", t.path(name), "--passphrase-file", t.path("pass")); err != nil {
		return nil, err
	}
	return n, n.Start(ctx)
}

// holds returns an error unless the node holds every daemon for a reason that why is in.
func (t *trial) holds(ctx context.Context, n *fleet.Node, why string) error {
	var held []api.Held
	for deadline := time.Now().Add(15 * time.Second); ; fleet.Pause(ctx, 50*time.Millisecond) {
		text, err := t.run1(ctx, n, 0, "backup", "pending", "-o", "json")
		if err != nil {
			return err
		}
		if err := json.NewDecoder(strings.NewReader(text[strings.Index(text, "["):])).Decode(&held); err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		named := 0
		for _, h := range held {
			if strings.Contains(h.Why, why) {
				named++
			}
		}
		if named == daemons {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d daemons are held because of %q: %+v", named, daemons, why, held)
		}
	}
	for i := range daemons {
		if _, err := t.run1(ctx, n, 4, "send", daemon(i), "--data", "x"); err != nil {
			return err
		}
	}
	_, err := t.run1(ctx, n, 6, "channel", "pub", "ballast", "--data", "x")
	return err
}

// oldIsThere restores the node beside itself: the copy serves nothing, says why, and
// gives way when it is told.
func (t *trial) oldIsThere(ctx context.Context) error {
	twin, err := t.restored(ctx, "twin")
	if err != nil {
		return err
	}
	if err := t.holds(ctx, twin, "has gone further"); err != nil {
		return err
	}
	said, err := t.run1(ctx, twin, 12, "backup", "confirm", "--all", "--yes")
	if err != nil {
		return err
	}
	if !strings.Contains(said, "another incarnation of this node runs") {
		return fmt.Errorf("it does not say why it is not confirmed: %s", said)
	}
	for i, s := range t.senders { // the old node and its peer have noticed nothing
		was := s.Acknowledged()
		d, err := t.peer.Client.Daemons().Get(ctx, daemon(i))
		if err != nil {
			return err
		}
		if d.EventsProcessed < uint64(was) || d.State != "running" {
			return fmt.Errorf("through the peer %s has %d events and is %s; %d were acknowledged", d.Name, d.EventsProcessed, d.State, was)
		}
	}
	if _, err := t.run1(ctx, twin, 0, "backup", "give-way", "--all", "--yes"); err != nil {
		return err
	}
	if left, err := twin.Client.Daemons().List(ctx, false); err != nil || len(left) > 0 {
		return errors.Join(fmt.Errorf("after it gave way the copy has %+v", left), err)
	}
	if err := twin.Kill(); err != nil {
		return err
	}
	close(t.stop)
	for range t.senders {
		if err := <-t.ended; err != nil {
			return err
		}
	}
	var tally fleet.Tally
	tally.Senders(t.senders)
	for i := range daemons {
		c, err := fleet.ReadChain(ctx, t.old, daemon(i))
		if err != nil {
			return err
		}
		tally.Check(daemon(i), c, t.senders, func(sequence int, _ []byte, output string) bool { return output == fmt.Sprint(sequence) })
	}
	if err := tally.Err(); err != nil {
		return err
	}
	fmt.Printf("backup: beside the old node the copy held %d daemons, was not confirmed, and gave way; the old one has all of %d acknowledged events, once\n", daemons, tally.Acknowledged)
	return nil
}

// oldIsGone loses the node and restores it: it serves once it is confirmed, and has all
// that was acknowledged before the backup.
func (t *trial) oldIsGone(ctx context.Context) error {
	if err := t.old.Kill(); err != nil {
		return err
	}
	if err := os.RemoveAll(t.path("old")); err != nil {
		return err
	}
	n, err := t.restored(ctx, "new")
	if err != nil {
		return err
	}
	if err := t.holds(ctx, n, "it comes from backup"); err != nil {
		return err
	}
	if err := n.Kill(); err != nil { // a restart confirms nothing
		return err
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	if err := t.holds(ctx, n, "it comes from backup"); err != nil {
		return err
	}
	if _, err := t.run1(ctx, n, 8, "backup", "confirm", "--all"); err != nil {
		return err
	}
	if _, err := t.run1(ctx, n, 0, "backup", "confirm", "--all", "--yes"); err != nil {
		return err
	}
	for i := range daemons {
		c, err := fleet.ReadChain(ctx, n, daemon(i))
		if err != nil {
			return err
		}
		for at, payload := range c.Payloads {
			if payload != fmt.Sprint(at+1) {
				return fmt.Errorf("output %d of %s is %q", at+1, daemon(i), payload)
			}
		}
		if len(c.Payloads) < t.before[i] {
			return fmt.Errorf("%s has %d outputs; %d were acknowledged before the backup", daemon(i), len(c.Payloads), t.before[i])
		}
		said, err := t.run1(ctx, n, 0, "send", daemon(i), "--data", "x")
		if err != nil {
			return err
		}
		if strings.TrimSpace(said) != fmt.Sprint(len(c.Payloads)+1) {
			return fmt.Errorf("%s answers %q after %d outputs", daemon(i), said, len(c.Payloads))
		}
	}
	if _, err := t.run1(ctx, n, 0, "channel", "pub", "ballast", "--data", "x"); err != nil {
		return err
	}
	fmt.Println("backup: with the old node gone the restored one held its daemons over a restart, and serves since it is confirmed: counts go on, chains hold")
	return nil
}
