package apply

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
)

// running carries a plan out.
type running struct {
	c      *client.Client
	want   *App
	have   *Present
	record api.Application
	steps  []Step
	tell   func(Step) // of each step that is done
}

// all does the steps in order, and stops at the first that fails. What is made is remembered
// before it is made, so that a command that breaks off loses nothing; what was removed is
// forgotten at the end.
func (r *running) all(ctx context.Context) (done int, err error) {
	for _, s := range r.steps {
		r.record.Made = append(r.record.Made, s.makes...)
	}
	if len(r.steps) > 0 {
		if r.record, err = r.c.Applications().Put(ctx, r.record); err != nil {
			return 0, err
		}
	}
	gone := make(map[api.Applied]bool)
	for i := range r.steps {
		s := &r.steps[i]
		if err = r.step(ctx, s); err != nil {
			err = fmt.Errorf("%s %s %s: %w", s.Do, s.Type, s.Name, err)
			break
		}
		if s.Done = true; s.Do == Remove || s.Do == Revoke {
			gone[api.Applied{Type: s.Type, Name: s.Name}] = true
		}
		done++
		r.tell(*s)
	}
	if len(gone) == 0 {
		return done, err
	}
	r.record.Made = slices.DeleteFunc(r.record.Made, func(m api.Applied) bool { return gone[m] })
	_, forgot := r.c.Applications().Put(ctx, r.record)
	if err == nil {
		err = forgot
	}
	return done, err
}

func (r *running) step(ctx context.Context, s *Step) error {
	switch s.Type {
	case "kind":
		return r.kind(ctx, s)
	case "channel":
		return r.channel(ctx, s)
	case "daemon":
		return r.daemon(ctx, s)
	case "group":
		return r.group(ctx, s)
	}
	return r.grant(ctx, s)
}

func (r *running) kind(ctx context.Context, s *Step) error {
	switch s.Do {
	case Push:
		k := r.want.Kinds[s.index]
		var limits []string
		for name, value := range k.Limits {
			limits = append(limits, name+"="+value)
		}
		_, err := r.c.Kinds().Push(ctx, k.Name, bytes.NewReader(k.wasm), limits...)
		return err
	case Limit:
		k := r.want.Kinds[s.index]
		_, err := r.c.Kinds().SetLimits(ctx, k.Name, api.SetLimits{Limits: changeOf(r.have.Kinds[k.Name].Limits, k.limits)})
		return err
	}
	_, err := r.c.Kinds().Remove(ctx, s.Name)
	return err
}

func (r *running) channel(ctx context.Context, s *Step) error {
	if s.Do == Remove {
		_, err := r.c.Channels().Remove(ctx, s.Name, client.AtNode{})
		return err
	}
	w := r.want.Channels[s.index]
	_, err := r.c.Channels().Create(ctx, api.CreateChannel{Name: w.Name, Roots: w.TokenRoots, Gated: w.Gated, Family: w.Family, KeepEvents: uint64(w.KeepEvents), KeepBytes: w.KeepBytes, KeepFor: w.KeepFor})
	return err
}

func (r *running) daemon(ctx context.Context, s *Step) error {
	if s.Do == Remove {
		_, err := r.c.Daemons().Remove(ctx, r.have.Daemons[s.Name].EntityID)
		return err
	}
	w := r.want.Daemons[s.index]
	id := r.have.Entities[w.Name]
	switch s.Do {
	case Spawn:
		d, err := r.c.Spawn(ctx, api.Spawn{Kind: w.Kind, Name: w.Name, Config: []byte(w.Config), Limits: w.limits, Standbys: int(w.Standbys), Ack: w.Ack})
		if err == nil {
			r.have.Entities[w.Name] = d.EntityID
		}
		return err
	case Limit:
		_, err := r.c.Daemons().SetLimits(ctx, id, api.SetLimits{Limits: changeOf(r.have.Daemons[w.Name].Own, w.limits)})
		return err
	case Upgrade:
		_, err := r.c.Daemons().Upgrade(ctx, id, api.Upgrade{To: r.digest(w.Kind)})
		return err
	}
	node, channel, _ := strings.Cut(s.Detail, "/")
	_, err := r.c.Channels().Subscribe(ctx, id, api.Subscribe{Publisher: node, Channel: channel})
	return err
}

// digest is the module that a kind is of by now.
func (r *running) digest(kind string) string {
	p := planner{want: r.want, have: r.have}
	return p.digestOf(kind)
}

func (r *running) group(ctx context.Context, s *Step) error {
	if s.Do == Remove {
		_, err := r.c.Groups().Remove(ctx, s.Name)
		return err
	}
	w := r.want.Groups[s.index]
	switch s.Do {
	case Create:
		_, err := r.c.Groups().Create(ctx, api.CreateGroup{Name: w.Name, Kind: w.Kind, Size: int(w.Size), Strategy: w.Strategy, Config: []byte(w.Config), Standbys: int(w.Standbys), Ack: w.Ack})
		return err
	case Scale:
		_, err := r.c.Groups().Scale(ctx, w.Name, int(w.Size))
		return err
	}
	to := r.digest(w.Kind)
	for id, module := range r.have.Groups[w.Name].Modules {
		if module == to {
			continue
		}
		if _, err := r.c.Daemons().Upgrade(ctx, id, api.Upgrade{To: to}); err != nil {
			return err
		}
	}
	return nil
}

func (r *running) grant(ctx context.Context, s *Step) error {
	name, may, what := cutGrant(s.Name)
	var g api.Grants
	if may == "may-send" {
		to := what
		if id := r.have.Entities[what]; id != "" {
			to = id
		}
		g.MaySend = []string{to}
	} else {
		node, pattern, _ := strings.Cut(what, "/")
		g.MayPublish = []api.MayPublish{{Node: node, Pattern: pattern}}
	}
	change := api.ChangeGrants{Grant: g}
	if s.Do == Revoke {
		change = api.ChangeGrants{Revoke: g}
	}
	_, err := r.c.Daemons().ChangeGrants(ctx, r.have.Entities[name], change)
	return err
}
