package apply

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
)

// types are what get writes, by the words of its arguments.
var types = []string{"kinds", "channels", "daemons", "groups", "grants"}

// Get is the command get.
func Get(a *cli.App) *cobra.Command {
	var application string
	c := &cobra.Command{Use: "get [kinds|channels|daemons|groups|grants]...", Short: "Write what the node has as a file for apply", Long: `Write what the node has as a file that "wasmhost apply" reads: as TOML, or with -o yaml as
YAML. Kinds have the digest of their module in the place of a file ("wasmhost kind pull"
writes that). What no node tells again is left out: configurations, keys and tokens. Members of
groups are their group's. Applied to the same node it changes nothing.`, Example: `  wasmhost get > app.toml
  wasmhost get kinds daemons -o yaml
  wasmhost get -o json`, ValidArgs: types, RunE: func(c *cobra.Command, args []string) error {
		for _, arg := range args {
			if !slices.Contains(types, arg) && !slices.Contains(types, arg+"s") {
				return cli.Usagef("get: there is no %q: kinds, channels, daemons, groups or grants", arg)
			}
		}
		have, err := presentOf(c.Context(), a.Client(), nil, nil)
		if err != nil {
			return err
		}
		app := appOf(have, func(of string) bool {
			return len(args) == 0 || slices.Contains(args, of) || slices.Contains(args, of[:len(of)-1])
		})
		app.Application = application
		if a.Format == "json" || a.Format == "jsonl" {
			return json.NewEncoder(a.Out).Encode(app)
		}
		return writeTOML(a, app)
	}}
	c.Flags().StringVar(&application, "application", "", "the application's name in the file; default: none")
	return c
}

// writeTOML writes the file by the names that JSON has.
func writeTOML(a *cli.App, app *App) error {
	text, err := json.Marshal(app)
	if err != nil {
		return err
	}
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		return err
	}
	return toml.NewEncoder(a.Out).Encode(whole(tree))
}

// whole makes the numbers of a tree of JSON whole, which in the files they are.
func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		tables := make([]map[string]any, 0, len(v))
		for i := range v {
			v[i] = whole(v[i])
			if table, ok := v[i].(map[string]any); ok {
				tables = append(tables, table)
			}
		}
		if len(tables) == len(v) {
			return tables
		}
	case float64:
		return int64(v)
	}
	return v
}

// appOf is what a node has, as apply would read it.
func appOf(have *Present, wanted func(of string) bool) *App {
	app, members := &App{}, make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(have.Groups)) {
		g := have.Groups[name]
		for id := range g.Modules {
			members[id] = true
		}
		if wanted("groups") {
			app.Groups = append(app.Groups, Group{Name: g.Name, Kind: g.Kind, Size: int64(g.Size), Strategy: g.Strategy, Standbys: int64(g.Standbys)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Kinds)) {
		if k := have.Kinds[name]; wanted("kinds") {
			app.Kinds = append(app.Kinds, Kind{Name: k.Name, Digest: k.Digest, Limits: limitTexts(k.Limits)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Channels)) {
		if c := have.Channels[name]; wanted("channels") {
			app.Channels = append(app.Channels, Channel{Name: c.Name, Gated: c.Gated, Family: c.Family, TokenRoots: c.Roots, KeepEvents: int64(c.KeepEvents), KeepBytes: c.KeepBytes, KeepFor: c.KeepFor})
		}
	}
	names := make(map[string]string) // of daemons, by entity id
	for name, d := range have.Daemons {
		names[d.EntityID] = name
	}
	for _, name := range slices.Sorted(maps.Keys(have.Daemons)) {
		d := have.Daemons[name]
		if members[d.EntityID] || d.Kind == "" {
			continue
		}
		if wanted("daemons") {
			app.Daemons = append(app.Daemons, daemonOf(d))
		}
		if g := grantOf(d, names); wanted("grants") && len(g.MaySend)+len(g.MayPublish) > 0 {
			app.Grants = append(app.Grants, g)
		}
	}
	return app
}

func daemonOf(d Running) Daemon {
	out := Daemon{Name: d.Name, Kind: d.Kind, Limits: limitTexts(d.Own)}
	if d.Cluster != nil {
		out.Standbys, out.Ack = int64(d.Cluster.Standbys), d.Cluster.Ack
	}
	for _, s := range d.Subscribe {
		out.Subscribe = append(out.Subscribe, s.Publisher+"/"+s.Channel)
	}
	return out
}

func grantOf(d Running, names map[string]string) Grant {
	g := Grant{Daemon: d.Name}
	for _, id := range d.Grants.MaySend {
		g.MaySend = append(g.MaySend, cmp.Or(names[id], id))
	}
	for _, m := range d.Grants.MayPublish {
		g.MayPublish = append(g.MayPublish, mayPublishText(m))
	}
	return g
}

func mayPublishText(m api.MayPublish) string { return m.Node + "/" + m.Pattern }

func limitTexts(limits map[string]int64) map[string]string {
	out := make(map[string]string, len(limits))
	for name, v := range limits {
		out[name] = daemon.LimitText(name, v)
	}
	return out
}
