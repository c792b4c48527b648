package cli

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"wasmhost.example/host/daemon"
)

// LimitTable reports whether a key of a configuration file is of limits: the
// node's, or those of kinds or daemons by name.
func LimitTable(key string) bool { return key == "limits" || key == "kind" || key == "daemon" }

// readLimits adds what a configuration file says of limits, each under the name
// of its table and its own.
func readLimits(out map[string]string, path, key string, raw any) error {
	tables, ok := raw.(map[string]any)
	if !ok {
		return Usagef("%s: %s is a table, not %v", path, key, raw)
	}
	if key == "limits" {
		if err := readTable(out, path, key, tables, daemon.ParseNodeLimit); err != nil {
			return err
		}
		_, err := daemon.ParseNodeLimits(tableOf(out, key))
		return inFile(path, key, err)
	}
	for name, raw := range tables {
		table := key + "." + name
		of, ok := raw.(map[string]any)
		if !ok {
			return Usagef("%s: %s is a table, not %v", path, table, raw)
		}
		for sub, raw := range of {
			limits, ok := raw.(map[string]any)
			if sub != "limits" || !ok {
				return Usagef("%s: unknown key %q in [%s]; there is [%s.limits]", path, sub, table, table)
			}
			if err := readTable(out, path, table+".limits", limits, daemon.ParseLimits); err != nil {
				return err
			}
			if err := inFile(path, table+".limits", fitsItself(tableOf(out, table+".limits"))); err != nil {
				return err
			}
		}
	}
	return nil
}

func readTable(out map[string]string, path, table string, limits map[string]any, parse func([]string) (daemon.Limits, error)) error {
	var errs []error
	for name, raw := range limits {
		switch raw.(type) {
		case string, int64:
		default:
			errs = append(errs, Usagef("%s: %s in [%s] is a number or a text such as \"16MiB\", not %v", path, name, table, raw))
			continue
		}
		text := fmt.Sprint(raw)
		if _, err := parse([]string{name + "=" + text}); err != nil {
			errs = append(errs, Usagef("%s: [%s]: %v", path, table, err))
			continue
		}
		out[table+"."+name] = text
	}
	sort.Slice(errs, func(i, j int) bool { return errs[i].Error() < errs[j].Error() })
	return errors.Join(errs...)
}

// limitValues returns what the files say of limits, by table and name; the
// first file that says something wins.
func limitValues(files []map[string]string) []Value {
	var out []Value
	seen := make(map[string]bool)
	for i, f := range files {
		for key, said := range f {
			if table, _, _ := strings.Cut(key, "."); LimitTable(table) && !seen[key] {
				seen[key] = true
				out = append(out, Value{key, said, configFiles()[i]})
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}

// FileLimits returns the limits of a table, as flags would give them: the
// node's, or those of the kind or daemon that is named.
func (a *App) FileLimits(of ...string) []string {
	table := strings.Join(append(of, "limits."), ".")
	var out []string
	for _, v := range a.Settings {
		if name, ok := strings.CutPrefix(v.Key, table); ok && !strings.Contains(name, ".") {
			out = append(out, name+"="+v.Value)
		}
	}
	return out
}

// tableOf returns what a table says, as flags would give it.
func tableOf(all map[string]string, table string) []string {
	var out []string
	for key, said := range all {
		if name, ok := strings.CutPrefix(key, table+"."); ok {
			out = append(out, name+"="+said)
		}
	}
	return out
}

// inFile says where limits stand that do not fit one another.
func inFile(path, table string, err error) error {
	if err == nil {
		return nil
	}
	return Usagef("%s: [%s]: %v", path, table, err)
}

// fitsItself compares the limits of a kind or daemon with one another alone: the node on
// which they will hold may have others than the defaults, and compares them with those.
func fitsItself(texts []string) error {
	own, err := daemon.ParseLimits(texts)
	if err != nil {
		return err
	}
	if own.MemoryBytes != 0 && own.StateBytes != 0 || own.MemoryBytes != 0 && own.EventBytes != 0 {
		return own.FitOn(daemon.Limits{StateBytes: max(own.MemoryBytes, own.StateBytes, daemon.DefaultLimits.StateBytes)})
	}
	return nil
}

const (
	LimitNames = "memory, fuel, wall, output-bytes, output-count, log-bytes, event-bytes, mailbox, senders, state-bytes, and of what is stored: snapshot-events, snapshot-bytes, snapshot-interval, history; and of what it makes of its own accord: internal-rate, internal-bytes, timer-interval"
	LimitUnits = "bytes in KiB, MiB or GiB, times as 250ms"
	LimitHelp  = "a limit of its own: " + LimitNames + "; " + LimitUnits + "."
)
