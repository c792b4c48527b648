package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Habits are what users of docker, kubectl, nomad, fly, spin, wash and golem type, and the
// command of ours that does it.
var Habits = map[string]string{
	"about": "version", "agent": "serve", "app": "daemon", "apps": "ps", "auth": "api token", "autoscale": "group scale", "build": "dev", "call": "send",
	"checkpoint": "snapshot save", "clone": "fork", "commit": "snapshot save", "component": "kind", "components": "kind ls", "cordon": "node drain",
	"cp": "snapshot save", "create": "spawn", "deploy": "upgrade", "destroy": "rm", "diagnose": "doctor",
	"edit": "limits set", "exec": "send", "export": "snapshot save", "halt": "stop", "history": "chain show", "host": "node", "image": "kind",
	"images": "kind ls", "import": "snapshot restore", "info": "node inspect", "init": "new", "instances": "ps", "invoke": "send", "jobs": "ps",
	"join": "node join", "kill": "stop", "load": "snapshot restore", "login": "api token issue", "ls": "ps", "machine": "node", "machines": "ps",
	"monitor": "events", "move": "migrate", "network": "channel", "open": "dashboard", "pause": "stop", "plan": "place", "port": "channel ls",
	"pub": "channel pub", "publish": "channel pub", "pull": "kind pull", "push": "kind push", "restart": "stop", "resume": "start", "rmi": "kind rm",
	"rollback": "upgrade", "rollout": "upgrade", "save": "snapshot save", "scale": "group scale", "secret": "identity", "secrets": "identity",
	"server": "serve", "show": "inspect", "ssh": "send", "stats": "top", "status": "ps", "sub": "channel sub", "suspend": "stop", "taint": "node drain",
	"template": "new", "templates": "new", "topic": "channel", "uncordon": "node undrain", "undeploy": "rm", "undo": "upgrade", "unpause": "start",
	"up": "serve", "update": "upgrade", "volume": "snapshot", "volumes": "snapshot", "wait": "events", "watch": "dev", "worker": "daemon",
	"channel add": "channel create", "channel follow": "channel sub", "channel send": "channel pub", "channel tail": "channel sub",
	"cluster ls": "cluster members", "cluster nodes": "cluster members", "group new": "group create", "group resize": "group scale",
	"kind add": "kind push", "kind build": "dev", "kind create": "kind push", "kind get": "kind pull", "kind save": "kind pull", "kind upload": "kind push",
	"node add": "node join", "node cordon": "node drain", "node rm": "node trust rm", "node uncordon": "node undrain", "snapshot create": "snapshot save",
	"snapshot load": "snapshot restore",
}

// noCommand is the error of a command that there is not.
func noCommand(c *cobra.Command, typed string) error {
	path := strings.TrimSpace(strings.TrimPrefix(c.CommandPath(), c.Root().Name()) + " " + typed)
	if ours := Habits[path]; ours != "" {
		return Usagef("%s has no command %q; here that is %s %s", c.CommandPath(), typed, c.Root().Name(), ours)
	}
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	meant := c.SuggestionsFor(typed)
	if len(meant) == 0 || len(meant) > 4 {
		return Usagef("%s has no command %q; see %s --help", c.CommandPath(), typed, c.CommandPath())
	}
	slices.Sort(meant)
	return Usagef("%s has no command %q; did you mean %s %s?", c.CommandPath(), typed, c.CommandPath(), strings.Join(meant, " or "))
}

// otherFlags are flags of others, and what does it here.
var otherFlags = map[string]string{
	"format": "-o go-template='{{…}}' or -o jsonpath='{…}'", "no-trunc": "-o wide", "selector": "--filter FIELD=VALUE", "force": "--yes",
	"namespace": "a context for each node: wasmhost context --help", "host": "--socket PATH or --url https://HOST:PORT", "server": "--url https://HOST:PORT",
	"replicas": "wasmhost group create NAME KIND --size N", "count": "wasmhost group create NAME KIND --size N", "env": "--config", "grace-period": "--timeout",
	"token": "--token-file FILE", "json": "-o json", "template": "-o go-template='{{…}}'", "field-selector": "--filter FIELD=VALUE", "detached": "--detach", "all-namespaces": "--all",
}

// noFlag is the error of a flag that there is not, or whose value is none.
func noFlag(c *cobra.Command, err error) error {
	typed, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return Usagef("%v", err)
	}
	if ours := otherFlags[typed]; ours != "" {
		return Usagef("%v; here that is %s", err, ours)
	}
	if near := nearFlag(c, typed); near != "" {
		return Usagef("%v; did you mean --%s?", err, near)
	}
	return Usagef("%v", err)
}

// nearFlag is the flag of c that is nearest to what was typed; empty: none is near.
func nearFlag(c *cobra.Command, typed string) string {
	names, most := []string{}, 2
	see := func(f *pflag.Flag) {
		if d := Distance(f.Name, typed); !f.Hidden && d <= most && d < len(typed) {
			names = append(names, fmt.Sprintf("%d %s", d, f.Name))
		}
	}
	c.Flags().VisitAll(see)
	c.InheritedFlags().VisitAll(see)
	if len(names) == 0 {
		return ""
	}
	_, name, _ := strings.Cut(slices.Min(names), " ")
	return name
}

// Distance is how many letters of a are to be changed, added or taken away for b, one
// that changes places with the next counting as one.
func Distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
