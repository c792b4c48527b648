package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"wasmhost.example/host"
)

// setting is what a flag, the environment or a configuration file can say. Its
// key in the file is the flag's name with _ for -.
type setting struct {
	flag  string
	Def   string
	Usage string
}

// Key is the setting's key in a configuration file.
func (s setting) Key() string {
	if s.flag == "tag" {
		return "tags" // the flag names one
	}
	return strings.ReplaceAll(s.flag, "-", "_")
}
func (s setting) env() string { return "WASMHOST_" + strings.ToUpper(s.Key()) }

// isSwitch reports whether the setting is true or false.
func (s setting) isSwitch() bool { return s.Def == "true" || s.Def == "false" }

// isList reports whether the setting may be several texts: a flag that may stand
// several times, commas in the environment, an array in a file.
func (s setting) isList() bool { return s.flag == "tag" || s.flag == "drain-to" }

// Settings are all that can be configured.
func Settings() []setting {
	return []setting{
		{"socket", defaultSocket(), "the node's control socket"},
		{"context", "", "the node of this name (wasmhost context --help)"},
		{"url", "", "the node's API over TCP, such as https://host:7444, instead of the socket"},
		{"token-file", "", "file with the API token for --url"},
		{"ca-file", "", "file with the certificate that --url is trusted by, PEM; empty: those of the machine"},
		{"output", "table", "table, wide, json, jsonl, name, yaml, jsonpath=EXPR or go-template=TEMPLATE"},
		{"data", defaultData(), "serve: the data directory"},
		{"ephemeral", "false", "serve: keep everything in memory"},
		{"listen", "127.0.0.1:7433", "serve: UDP address for other nodes; 0.0.0.0:PORT is every address that the machine has or gets"},
		{"name", defaultName(), "serve: the node's name: letters, digits, - _ . after a letter or digit, at most 255; not all, no id"},
		{"tag", "", "serve: KEY=VALUE, which the node announces and daemons can require; may stand several times"},
		{"drain", "false", "serve: on SIGTERM move every daemon to other nodes before ending"},
		{"drain-to", "", "serve: as --drain, to these nodes alone; may stand several times"},
		{"drain-deadline", "60s", "serve: for how long --drain may go on; what is left then stays on disk"},
		{"rebalance", "0s", "serve: look so often whether another node has clearly less, and move one daemon there: 1s or more; 0s: never"},
		{"log-level", "info", "serve: debug, info, warn or error; of single parts: info,store=debug,wire=warn"},
		{"log-format", "text", "serve: text or json"},
		{"metrics", "", "serve: address for Prometheus, such as :9464; without a host this machine alone"},
		{"pprof", "", "serve: loopback address for profiles, such as :6060"},
		{"api", "", "serve: address for the API over TCP, with TLS and tokens (api token issue); without a host this machine alone"},
		{"api-cert", "", "serve: certificate of --api, PEM; empty: one of the node's own, api.crt in the data directory"},
		{"api-key", "", "serve: key of --api-cert, PEM"},
		{"audit-log", "", "serve: file for the JSON lines of requests that change something or are refused; empty: the log"},
		{"otlp", "", "serve: collector for traces, such as http://localhost:4318 (OTLP over HTTP); empty: OTEL_EXPORTER_OTLP_ENDPOINT, or none"},
		{"otlp-sample", "1", "serve: which part of the requests that are not traced already is, between 0 and 1"},
		{"no-module-fetch", "false", "serve: take no module from another node"},
		{"kind-keys", "", "serve: keys one of which must have signed a module that is to run: entity ids or key files, with commas between; empty: no module need be signed"},
		{"key-file", "", "serve: the node's key, made at the first start; empty: node.key in the data directory"},
		{"passphrase-file", "", "serve: file with the passphrase that the node's key must be protected by"},
		{"passivate-after", "10m", "serve: a daemon without an event for so long leaves memory until its next; 0s: never"},
		{"cluster", "false", "serve: be in a cluster whose directory the nodes keep themselves (an etcd within the first of them): the one that is joined has it, or this node begins one"},
		{"cluster-name", "main", "serve: the cluster's name; nodes of one cluster have the same"},
		{"cluster-listen", "", "serve: TCP address for the other members of the cluster's directory; empty: the address of --listen"},
		{"cluster-voters", "3", "serve: how many nodes keep the directory, an odd number; the others ask them"},
		{"lease", "2s", "serve: after so long a silence a node of the cluster has stopped, and its daemons go on at their standbys; the same on all nodes"},
		{"etcd", "", "serve: be in a cluster whose directory is in this etcd: URLs with commas between"},
		{"etcd-ca", "", "serve: certificate that --etcd is trusted by, PEM; empty: those of the machine"},
		{"etcd-cert", "", "serve: this node's certificate for --etcd, PEM"},
		{"etcd-key", "", "serve: key of --etcd-cert, PEM"},
		{"etcd-user", "", "serve: this node's name at --etcd"},
		{"etcd-password-file", "", "serve: file with the password of --etcd-user"},
		{"active-memory", "", "serve: memory of the daemons that are not passive, such as 512MiB or 4GiB: over it those leave that were idle longest; empty: no bound"},
		{"compile-memory", "2GiB", "serve: memory that compiling one module may take, in a process of its own"},
		{"compile-time", "2m", "serve: processor time that compiling one module may take; on the clock, five times as much"},
	}
}

// SettingOf returns the setting of a flag. It panics where there is none: flags are declared
// from the table.
func SettingOf(flag string) setting {
	for _, s := range Settings() {
		if s.flag == flag {
			return s
		}
	}
	panic("no setting " + flag) // a flag is declared from the table
}

// flagSet is a set of flags that takes those of settings.
type flagSet interface {
	BoolP(name, short string, value bool, usage string) *bool
	StringP(name, short, value, usage string) *string
}

// UsageOf is what the flag of a setting is for.
func UsageOf(flag string) string {
	s := SettingOf(flag)
	return strings.TrimPrefix(s.Usage, "serve: ") + " (" + s.env() + ")"
}

// AddSetting declares the flag of a setting.
func AddSetting(f flagSet, flag, short string) {
	s := SettingOf(flag)
	usage := UsageOf(flag)
	if s.isSwitch() {
		f.BoolP(flag, short, s.Def == "true", usage)
		return
	}
	f.StringP(flag, short, s.Def, usage)
}

// Value is what a setting comes to, and where that is from.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// configFiles are where files are looked for; the first that says something
// wins.
func configFiles() []string {
	dir := os.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		dir = filepath.Join(home(), ".config")
	}
	return []string{"wasmhost.toml", filepath.Join(dir, "wasmhost", "config.toml")}
}

// readConfig returns what a configuration file says, by key; nothing where
// there is no file.
func readConfig(path string) (map[string]string, error) {
	var raw map[string]any
	if _, err := toml.DecodeFile(path, &raw); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, Usagef("reading %s: %v", path, err)
	}
	keys := make([]string, 0, len(raw))
	for k := range raw {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make(map[string]string)
next:
	for _, k := range keys {
		if LimitTable(k) {
			if err := readLimits(out, path, k, raw[k]); err != nil {
				return nil, err
			}
			continue
		}
		for _, s := range Settings() {
			if s.Key() != k {
				continue
			}
			want := "a string"
			if s.isList() {
				want = "a string or an array of strings"
			}
			switch v := raw[k].(type) {
			case string:
				if v == "" {
					return nil, Usagef("%s: %s has an empty value: give one, or leave the key out", path, k)
				}
				if !s.isSwitch() {
					out[k] = v
					continue next
				}
				want = "true or false"
			case []any:
				if s.isList() {
					texts, ok := allStrings(v)
					if ok && slices.Contains(texts, "") {
						return nil, Usagef("%s: %s has an empty value: give one, or leave it out", path, k)
					}
					if ok {
						out[k] = strings.Join(texts, ",")
						continue next
					}
				}
			case bool:
				if s.isSwitch() {
					out[k] = fmt.Sprint(v)
					continue next
				}
			}
			return nil, Usagef("%s: %s is %s, not %v", path, k, want, raw[k])
		}
		return nil, Usagef("%s: unknown key %q; wasmhost config lists the keys", path, k)
	}
	return out, nil
}

func allStrings(values []any) ([]string, bool) {
	texts := make([]string, len(values))
	for i, v := range values {
		var ok bool
		if texts[i], ok = v.(string); !ok {
			return nil, false
		}
	}
	return texts, true
}

// configure fills the flags that were not given: from the environment, else
// from a file. It returns every setting, also those that the command has no
// flag for.
func configure(c *cobra.Command) ([]Value, error) {
	all, err := LookUp(c)
	if err != nil {
		return nil, err
	}
	for _, s := range Settings() {
		flag := c.Flags().Lookup(s.flag)
		if flag == nil || flag.Changed {
			continue
		}
		i := slices.IndexFunc(all, func(v Value) bool { return v.Key == s.Key() })
		if v := all[i]; v.Source != "default" {
			if err := flag.Value.Set(v.Value); err != nil {
				return nil, Usagef("%s from %s: %v", v.Key, v.Source, err)
			}
		}
	}
	return all, nil
}

// LookUp returns what every setting comes to now, with the flags that were given. It
// changes nothing.
func LookUp(c *cobra.Command) ([]Value, error) {
	if err := refuseEmptyEnv(); err != nil {
		return nil, err
	}
	var files []map[string]string
	for _, path := range configFiles() {
		f, err := readConfig(path)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	var out []Value
	for _, s := range Settings() {
		v := Value{s.Key(), s.Def, "default"}
		flag := c.Flags().Lookup(s.flag)
		if env := os.Getenv(s.env()); env != "" {
			v.Value, v.Source = env, s.env()
		} else {
			for i, f := range files {
				if said, ok := f[s.Key()]; ok {
					v.Value, v.Source = said, configFiles()[i]
					break
				}
			}
		}
		if flag != nil && flag.Changed {
			v.Value, v.Source = flag.Value.String(), "--"+s.flag
		}
		out = append(out, v)
	}
	return append(out, limitValues(files)...), nil
}

// Config is the command config.
func Config(a *App) *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print each setting and where it comes from",
		Long: `Print each setting, what it comes to, and where that comes from. Flags win over
the environment (WASMHOST_ and the key in capitals), which wins over ./wasmhost.toml,
which wins over $XDG_CONFIG_HOME/wasmhost/config.toml (~/.config). An empty value is
an error in all of them: leave out what is to be the default. A file holds
lines of TOML, key = value; a key that is not listed here is an error.

A file can also have tables of limits, whose keys are those of --limit. [limits]
is what serve gives to every daemon, [kind.NAME.limits] what kind push NAME gives
to the kind, [daemon.NAME.limits] what spawn --name NAME gives to the daemon; a
--limit flag of these commands wins.`,
		Example: `  wasmhost config
  echo 'listen = "0.0.0.0:7433"' >> wasmhost.toml && wasmhost config -o json
  printf '[kind.counter.limits]\nfuel = 5000000\nmemory = "16MiB"\n' >> wasmhost.toml`,
		Args: Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			return PrintList(a, a.Settings, "KEY\tVALUE\tFROM", func(v Value) string {
				return v.Key + "\t" + v.Value + "\t" + v.Source
			}, func(v Value) string { return v.Key })
		},
	}
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// defaultName is the machine's name if it can name a node; else empty: the node then
// has no name, only an id.
func defaultName() string {
	name := hostname()
	if host.ValidNodeName(name) != nil {
		return ""
	}
	return name
}
