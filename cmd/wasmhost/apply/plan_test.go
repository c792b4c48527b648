package apply

import (
	"errors"
	"slices"
	"testing"

	"wasmhost.example/api"
)

func present() *Present {
	return &Present{
		Kinds:    map[string]api.Kind{"k": {Name: "k", Digest: "aa", Limits: map[string]int64{"mailbox": 5}}},
		Channels: map[string]api.Channel{"c": {Name: "c"}},
		Daemons: map[string]Running{
			"d": {Daemon: api.Daemon{Name: "d", EntityID: "id-d", Kind: "k", Module: "aa"}, Own: map[string]int64{"history": 7},
				Grants: api.Grants{MaySend: []string{"id-e"}, MayPublish: []api.MayPublish{{Node: "n1", Pattern: "x/*"}}}, Subscribe: []api.Subscription{{Publisher: "n1", Channel: "c"}}},
			"e": {Daemon: api.Daemon{Name: "e", EntityID: "id-e", Kind: "k", Module: "old"}},
		},
		Groups:   map[string]GroupNow{"g": {Group: api.Group{Name: "g", Kind: "k", Size: 2, Strategy: "round-robin"}, Modules: map[string]string{"m0": "aa", "m1": "old"}}},
		Nodes:    map[string]string{"a": "n1", "n1": "n1"},
		Entities: map[string]string{"d": "id-d", "id-d": "id-d", "e": "id-e", "id-e": "id-e"},
	}
}

func texts(steps []Step) []string {
	out := []string{}
	for _, s := range steps {
		out = append(out, s.sign()+" "+s.text())
	}
	return out
}

func TestPlan(t *testing.T) {
	kind := Kind{Name: "k", Digest: "aa"}
	for _, c := range []struct {
		name  string
		want  App
		made  []api.Applied
		prune bool
		plan  []string
	}{
		{name: "nothing is wanted", plan: []string{}},
		{name: "all is there", want: App{Kinds: []Kind{{Name: "k", Digest: "aa", limits: map[string]int64{"mailbox": 5}}}, Channels: []Channel{{Name: "c"}},
			Daemons: []Daemon{{Name: "d", Kind: "k", Subscribe: []string{"a/c"}, limits: map[string]int64{"history": 7}}},
			Grants:  []Grant{{Daemon: "d", MaySend: []string{"e"}, MayPublish: []string{"a/x/*"}}}}, plan: []string{}},
		{name: "a new kind, and what is of it", want: App{Kinds: []Kind{{Name: "new", Digest: "bb", wasm: []byte("m")}}, Daemons: []Daemon{{Name: "f", Kind: "new", Subscribe: []string{"a/c"}}},
			Groups: []Group{{Name: "h", Kind: "new", Size: 3}}, Grants: []Grant{{Daemon: "f", MaySend: []string{"f", "d"}}}},
			plan: []string{"+ push kind new (module bb)", "+ spawn daemon f (of kind new)", "+ create group h (3 of kind new)", "~ subscribe daemon f (a/c)", "+ grant: f may-send f", "+ grant: f may-send d"}},
		{name: "another module", want: App{Kinds: []Kind{{Name: "k", Digest: "bb", wasm: []byte("m")}}, Daemons: []Daemon{{Name: "d", Kind: "k"}}, Groups: []Group{{Name: "g", Kind: "k", Size: 2}}},
			plan: []string{"~ push kind k (module aa -> bb)", "~ upgrade daemon d (module aa -> bb)", "~ upgrade group g (2 members to module bb)"}},
		{name: "what is behind its kind", want: App{Daemons: []Daemon{{Name: "e", Kind: "k"}}, Groups: []Group{{Name: "g", Kind: "k", Size: 3}}},
			plan: []string{"~ upgrade daemon e (module old -> aa)", "~ upgrade group g (1 members to module aa)", "~ scale group g (2 -> 3 members)"}},
		{name: "limits", want: App{Kinds: []Kind{{Name: "k", Digest: "aa", limits: map[string]int64{"mailbox": 6}}}, Daemons: []Daemon{{Name: "d", Kind: "k", limits: map[string]int64{"mailbox": 9}}}},
			plan: []string{"~ limit kind k (mailbox=6)", "~ limit daemon d (mailbox=9)"}},
		{name: "a grant to an id that nobody has yet", want: App{Grants: []Grant{{Daemon: "d", MaySend: []string{"*", "0000000000000000000000000000000000000000000000000000000000000001"}, MayPublish: []string{"a/y"}}}},
			plan: []string{"+ grant: d may-send *", "+ grant: d may-send 0000000000000000000000000000000000000000000000000000000000000001", "+ grant: d may-publish a/y"}},
		{name: "nothing goes unasked", made: []api.Applied{{Type: "daemon", Name: "d"}}, plan: []string{}},
		{name: "what was made and is wanted no more", prune: true, want: App{Kinds: []Kind{kind}},
			made: []api.Applied{{Type: "kind", Name: "k"}, {Type: "daemon", Name: "d"}, {Type: "daemon", Name: "gone"}, {Type: "channel", Name: "c"}, {Type: "group", Name: "g"}, {Type: "grant", Name: "d may-send e"}, {Type: "grant", Name: "d may-publish a/x/*"}, {Type: "grant", Name: "d may-send gone"}},
			plan: []string{"- revoke: d may-send e", "- revoke: d may-publish a/x/*", "- remove group g", "- remove daemon d", "- remove channel c"}},
	} {
		steps, err := Plan(&c.want, present(), c.made, c.prune)
		if err != nil || !slices.Equal(texts(steps), c.plan) {
			t.Errorf("%s: got %q, %v, want %q", c.name, texts(steps), err, c.plan)
		}
	}
}

// What no step can change is an error that says where it stands.
func TestPlanRefuses(t *testing.T) {
	for name, want := range map[string]App{
		"a kind without a module":     {Kinds: []Kind{{Name: "x", Digest: "bb"}}},
		"another module without one":  {Kinds: []Kind{{Name: "k", Digest: "bb"}}},
		"a channel of other roots":    {Channels: []Channel{{Name: "c", Gated: true}}},
		"a daemon of no kind":         {Daemons: []Daemon{{Name: "x", Kind: "x"}}},
		"a daemon that changes kinds": {Kinds: []Kind{{Name: "x", Digest: "bb", wasm: []byte("m")}}, Daemons: []Daemon{{Name: "d", Kind: "x"}}},
		"a group of another strategy": {Groups: []Group{{Name: "g", Kind: "k", Size: 2, Strategy: "least-loaded"}}},
		"a grant of nobody":           {Grants: []Grant{{Daemon: "x", MaySend: []string{"d"}}}},
		"a grant to send to nobody":   {Grants: []Grant{{Daemon: "d", MaySend: []string{"x"}}}},
	} {
		if steps, err := Plan(&want, present(), nil, false); !errors.Is(err, ErrFile) {
			t.Errorf("%s: got %q, %v", name, texts(steps), err)
		}
	}
}
