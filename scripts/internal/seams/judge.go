package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// read verifies the daemon's chain, enters its lines in the book, and returns them. Each
// line counts one more than the one before.
func (r *round) read(ctx context.Context, n *fleet.Node, daemon string) ([]heard, error) {
	chain, err := fleet.ReadChain(ctx, n, daemon)
	if err != nil {
		return nil, err
	}
	var out []heard
	for i, line := range chain.Payloads {
		h, err := parseHeard(line)
		if err != nil {
			return nil, err
		}
		if i > 0 && h.count != out[i-1].count+1 {
			r.problem("daemon %s counts %d in output %d, and %d in the one before: want one more", daemon, h.count, i+1, out[i-1].count)
		}
		out = append(out, h)
		r.book.applied(h.text, line)
	}
	return out, nil
}

func (b *book) applied(text, line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.places[text], line) {
		b.places[text] = append(b.places[text], line)
	}
}

// renew notes that the daemon may have lost what it had.
func (b *book) renew(entity string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.renewed[entity] = true
}

// joined notes members that the group has.
func (b *book) joined(members []api.GroupMember) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range members {
		b.team[m.EntityID] = true
	}
}

// buryTeam notes that the group is removed, whose last members these are: with it all that
// it remembers goes, also of members that left it before.
func (b *book) buryTeam(members []api.GroupMember) {
	b.joined(members)
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.Copy(b.buried, b.team)
	clear(b.team)
}

// standing are those of the lines that a daemon said which is not buried. It needs b.mu.
func (b *book) standing(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		h, err := parseHeard(line)
		return err == nil && b.buried[h.daemon]
	})
}

// judge holds the book against the chains of the daemons, by entity id, that are there:
// every event is applied once where it is acknowledged, once at most where its sender does
// not know, and never where it was refused alone.
func (r *round) judge(ctx context.Context, n *fleet.Node, daemons ...string) error {
	for _, d := range daemons {
		if _, err := r.read(ctx, n, d); err != nil {
			r.problem("the chain of daemon %s: %v", d, err)
		}
	}
	b := r.book
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.order {
		places, answers := b.standing(b.places[e.text]), b.standing(e.answers)
		all := slices.Clone(answers)
		for _, p := range places {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
		switch {
		case len(all) > 1:
			for i := range all {
				all[i] = brief(all[i])
			}
			r.problem("event %q with id %q to %s: want it applied once, it is applied as %s", e.text, e.id, e.to, strings.Join(all, " and as "))
		case len(answers) > 0 && len(places) == 0:
			if h, err := parseHeard(answers[0]); err != nil || slices.Contains(daemons, h.daemon) && !b.renewed[h.daemon] {
				r.problem("event %q to %s: acknowledged as %s, which is in no chain", e.text, e.to, brief(answers[0]))
			}
		case len(e.answers) == 0 && !e.doubt && len(places) > 0:
			r.problem("event %q to %s: refused (%s), and applied as %s", e.text, e.to, strings.Join(e.refused, ", "), brief(places[0]))
		}
	}
	for text, places := range b.places {
		if h, err := parseHeard(places[0]); err == nil && h.kind == "direct" && b.texts[text] == nil {
			r.problem("nobody sent the event %q that is applied as %q", text, places[0])
		}
	}
	return context.Cause(ctx)
}
