package apply

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
)

// Present is what the node has of what is wanted, and of what was made before.
type Present struct {
	Kinds    map[string]api.Kind
	Channels map[string]api.Channel
	Daemons  map[string]Running // by name, wherever they are
	Groups   map[string]GroupNow
	Nodes    map[string]string // node ids by name and by id
	Entities map[string]string // entity ids by name and by id
}

// Running is a daemon that is there.
type Running struct {
	api.Daemon
	Own       map[string]int64 // limits of its own
	Grants    api.Grants
	Subscribe []api.Subscription
}

// GroupNow is a group that is there.
type GroupNow struct {
	api.Group
	Modules map[string]string // digests, by the members' entity ids
}

// Verb is what a step does.
type Verb string

// The verbs, in the order in which steps are done.
const (
	Push      Verb = "push"
	Create    Verb = "create"
	Spawn     Verb = "spawn"
	Limit     Verb = "limit"
	Upgrade   Verb = "upgrade"
	Scale     Verb = "scale"
	Subscribe Verb = "subscribe"
	Permit    Verb = "grant"
	Revoke    Verb = "revoke"
	Remove    Verb = "remove"
)

// Step is one change.
type Step struct {
	Do     Verb   `json:"do"`
	Type   string `json:"type"` // kind, channel, daemon, group or grant
	Name   string `json:"name"`
	Detail string `json:"detail,omitempty"`
	Done   bool   `json:"done"`

	makes []api.Applied // what is there then that was not
	index int           // in the list of its type in App
}

// sign is how a step stands in a diff.
func (s Step) sign() string {
	switch {
	case s.Do == Remove || s.Do == Revoke:
		return "-"
	case len(s.makes) > 0:
		return "+"
	}
	return "~"
}

// Plan returns the changes that lead from what a node has to what is wanted, in order. With
// prune what made has, and is not wanted, goes at the end. It changes nothing; the same
// arguments give the same plan. Errors name what can be changed by no step.
func Plan(want *App, have *Present, made []api.Applied, prune bool) ([]Step, error) {
	p := &planner{want: want, have: have}
	for i := range want.Kinds {
		if err := p.kind(i); err != nil {
			return nil, err
		}
	}
	for i, c := range want.Channels {
		if now, ok := have.Channels[c.Name]; !ok {
			p.makes(Create, "channel", c.Name, "", i)
		} else if now.Gated != (c.Gated || len(c.TokenRoots) > 0) || now.Family != c.Family {
			return nil, c.at.errorf("channel %s is there with other bounds or roots: remove it first, with its events", c.Name)
		}
	}
	for i := range want.Daemons {
		if err := p.daemon(i); err != nil {
			return nil, err
		}
	}
	for i := range want.Groups {
		if err := p.group(i); err != nil {
			return nil, err
		}
	}
	for i := range want.Daemons {
		p.subscriptions(i)
	}
	for i := range want.Grants {
		if err := p.grant(i); err != nil {
			return nil, err
		}
	}
	if prune {
		p.prune(made)
	}
	return p.steps, nil
}

type planner struct {
	want  *App
	have  *Present
	steps []Step
}

func (p *planner) add(do Verb, kind, name, detail string, index int) {
	p.steps = append(p.steps, Step{Do: do, Type: kind, Name: name, Detail: detail, index: index})
}

func (p *planner) makes(do Verb, kind, name, detail string, index int) {
	p.add(do, kind, name, detail, index)
	p.steps[len(p.steps)-1].makes = []api.Applied{{Type: kind, Name: name}}
}

func (p *planner) kind(i int) error {
	k := p.want.Kinds[i]
	now, there := p.have.Kinds[k.Name]
	switch {
	case !there && k.wasm == nil:
		return k.at.errorf("kind %s is not there, and no module is named", k.Name)
	case !there:
		p.makes(Push, "kind", k.Name, fmt.Sprintf("module %.12s", k.Digest), i)
		return nil
	case now.Digest != k.Digest && k.wasm == nil:
		return k.at.errorf("kind %s is of module %.12s, not %.12s, and no module is named", k.Name, now.Digest, k.Digest)
	case now.Digest != k.Digest:
		p.add(Push, "kind", k.Name, fmt.Sprintf("module %.12s -> %.12s", now.Digest, k.Digest), i)
	}
	if change := changeOf(now.Limits, k.limits); len(change) > 0 {
		p.add(Limit, "kind", k.Name, limitText(change), i)
	}
	return nil
}

// changeOf are the wanted limits that are others now. Those that no file names stay.
func changeOf(now, want map[string]int64) map[string]int64 {
	change := make(map[string]int64)
	for name, v := range want {
		if now[name] != v {
			change[name] = v
		}
	}
	return change
}

func limitText(limits map[string]int64) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		texts = append(texts, name+"="+daemon.LimitText(name, limits[name]))
	}
	return strings.Join(texts, ", ")
}

// digestOf is the module that a kind is of, once the plan is carried out; empty: not known.
func (p *planner) digestOf(kind string) string {
	for _, k := range p.want.Kinds {
		if k.Name == kind {
			return k.Digest
		}
	}
	return p.have.Kinds[kind].Digest
}

func (p *planner) daemon(i int) error {
	d := p.want.Daemons[i]
	now, there := p.have.Daemons[d.Name]
	if !there {
		if p.digestOf(d.Kind) == "" {
			return d.at.errorf("daemon %s: there is no kind %s, here or on the node", d.Name, d.Kind)
		}
		p.makes(Spawn, "daemon", d.Name, "of kind "+d.Kind, i)
		return nil
	}
	if now.Kind != d.Kind {
		return d.at.errorf("daemon %s is of kind %s, not %s: no daemon changes its kind", d.Name, now.Kind, d.Kind)
	}
	if change := changeOf(now.Own, d.limits); len(change) > 0 {
		p.add(Limit, "daemon", d.Name, limitText(change), i)
	}
	if to := p.digestOf(d.Kind); to != "" && now.Module != to {
		p.add(Upgrade, "daemon", d.Name, fmt.Sprintf("module %.12s -> %.12s", now.Module, to), i)
	}
	return nil
}

func (p *planner) group(i int) error {
	g := p.want.Groups[i]
	to := p.digestOf(g.Kind)
	now, there := p.have.Groups[g.Name]
	if !there {
		if to == "" {
			return g.at.errorf("group %s: there is no kind %s, here or on the node", g.Name, g.Kind)
		}
		p.makes(Create, "group", g.Name, fmt.Sprintf("%d of kind %s", g.Size, g.Kind), i)
		return nil
	}
	if now.Kind != g.Kind || g.Strategy != "" && g.Strategy != now.Strategy {
		return g.at.errorf("group %s is of kind %s and strategy %s, which no group changes", g.Name, now.Kind, now.Strategy)
	}
	old := 0
	for _, module := range now.Modules {
		if to != "" && module != to {
			old++
		}
	}
	if old > 0 {
		p.add(Upgrade, "group", g.Name, fmt.Sprintf("%d members to module %.12s", old, to), i)
	}
	if int64(now.Size) != g.Size {
		p.add(Scale, "group", g.Name, fmt.Sprintf("%d -> %d members", now.Size, g.Size), i)
	}
	return nil
}

func (p *planner) subscriptions(i int) {
	d := p.want.Daemons[i]
	for _, text := range d.Subscribe {
		node, channel, _ := strings.Cut(text, "/")
		id := cmp.Or(p.have.Nodes[node], node)
		if !slices.ContainsFunc(p.have.Daemons[d.Name].Subscribe, func(s api.Subscription) bool { return s.Publisher == id && s.Channel == channel }) {
			p.add(Subscribe, "daemon", d.Name, text, i)
		}
	}
}

func (p *planner) grant(i int) error {
	g := p.want.Grants[i]
	_, coming := p.named(g.Daemon)
	now, there := p.have.Daemons[g.Daemon]
	if !there && !coming {
		return g.at.errorf("a grant is of daemon %s, which is neither there nor wanted", g.Daemon)
	}
	for _, to := range g.MaySend {
		id := cmp.Or(p.have.Entities[to], to)
		if _, coming := p.named(to); id == to && to != "*" && len(to) != 64 && !coming {
			return g.at.errorf("a grant of %s is to send to %s, which is neither there nor wanted", g.Daemon, to)
		}
		if !slices.Contains(now.Grants.MaySend, id) {
			p.makes(Permit, "grant", grantName(g.Daemon, "may-send", to), "", i)
		}
	}
	for _, text := range g.MayPublish {
		node, pattern, _ := strings.Cut(text, "/")
		id := cmp.Or(p.have.Nodes[node], node)
		if !slices.ContainsFunc(now.Grants.MayPublish, func(m api.MayPublish) bool { return m.Node == id && m.Pattern == pattern }) {
			p.makes(Permit, "grant", grantName(g.Daemon, "may-publish", text), "", i)
		}
	}
	return nil
}

// named reports whether a daemon is wanted.
func (p *planner) named(name string) (int, bool) {
	i := slices.IndexFunc(p.want.Daemons, func(d Daemon) bool { return d.Name == name })
	return i, i >= 0
}

// grantName names one grant: DAEMON may-send OTHER, or DAEMON may-publish NODE/CHANNEL.
func grantName(daemon, may, what string) string { return daemon + " " + may + " " + what }

// prune removes what was made and is not wanted: grants first, kinds last.
func (p *planner) prune(made []api.Applied) {
	wanted := make(map[api.Applied]bool)
	for _, k := range p.want.Kinds {
		wanted[api.Applied{Type: "kind", Name: k.Name}] = true
	}
	for _, c := range p.want.Channels {
		wanted[api.Applied{Type: "channel", Name: c.Name}] = true
	}
	for _, d := range p.want.Daemons {
		wanted[api.Applied{Type: "daemon", Name: d.Name}] = true
	}
	for _, g := range p.want.Groups {
		wanted[api.Applied{Type: "group", Name: g.Name}] = true
	}
	for _, g := range p.want.Grants {
		for _, to := range g.MaySend {
			wanted[api.Applied{Type: "grant", Name: grantName(g.Daemon, "may-send", to)}] = true
		}
		for _, text := range g.MayPublish {
			wanted[api.Applied{Type: "grant", Name: grantName(g.Daemon, "may-publish", text)}] = true
		}
	}
	for _, kind := range []string{"grant", "group", "daemon", "channel", "kind"} {
		for _, m := range made {
			if m.Type != kind || wanted[m] || !p.there(m) {
				continue
			}
			do := Remove
			if kind == "grant" {
				do = Revoke
			}
			p.add(do, kind, m.Name, "", -1)
		}
	}
}

// there reports whether what was made is there still.
func (p *planner) there(m api.Applied) (ok bool) {
	switch m.Type {
	case "kind":
		_, ok = p.have.Kinds[m.Name]
	case "channel":
		_, ok = p.have.Channels[m.Name]
	case "daemon":
		_, ok = p.have.Daemons[m.Name]
	case "group":
		_, ok = p.have.Groups[m.Name]
	case "grant":
		name, may, what := cutGrant(m.Name)
		now, there := p.have.Daemons[name]
		if may == "may-send" {
			return there && slices.Contains(now.Grants.MaySend, cmp.Or(p.have.Entities[what], what))
		}
		node, pattern, _ := strings.Cut(what, "/")
		id := cmp.Or(p.have.Nodes[node], node)
		return there && slices.ContainsFunc(now.Grants.MayPublish, func(g api.MayPublish) bool { return g.Node == id && g.Pattern == pattern })
	}
	return ok
}

// cutGrant reads what grantName wrote.
func cutGrant(text string) (daemon, may, what string) {
	daemon, rest, _ := strings.Cut(text, " ")
	may, what, _ = strings.Cut(rest, " ")
	return daemon, may, what
}
