package serve

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/node"
)

// reloadable are the settings of serve that count as soon as they are read again.
var reloadable = []string{"log_level", "tags", "drain", "drain_to", "drain_deadline"}

// reloader reads a node's settings again while it runs.
type reloader struct {
	settings func() ([]cli.Value, error) // nil: they stay as they are
	last     map[string]string           // what they came to
	node     *node.Node
	config   node.Config
	logs     *logging
	logger   *slog.Logger
	drain    atomic.Pointer[drainOptions]
}

func newReloader(o ServeOptions, n *node.Node, logs *logging) *reloader {
	r := &reloader{settings: o.settings, node: n, config: o.Node, logs: logs, logger: logs.of("node")}
	r.drain.Store(&o.drain)
	if r.settings != nil {
		if all, err := r.settings(); err == nil { // else the first reload names all
			r.last = byKey(all)
		}
	}
	return r
}

// drainOptions are those that count now.
func (r *reloader) drainOptions() drainOptions { return *r.drain.Load() }

func byKey(all []cli.Value) map[string]string {
	out := make(map[string]string, len(all))
	for _, v := range all {
		out[v.Key] = v.Value
	}
	return out
}

// reloadAt reads settings, certificate and audit log again at each signal. What cannot be
// read leaves what was.
func (r *reloader) reloadAt(signals <-chan os.Signal) {
	for range signals {
		if err := errors.Join(r.reload(), r.node.ReloadFiles()); err != nil {
			r.logger.Error("reloading", "error", err)
			continue
		}
		r.logger.Info("reloaded", "certificate", r.config.API != "", "audit log", r.config.AuditLog != "")
	}
}

// reload takes what changed and can change, and names what changed and cannot. Where
// anything is not good nothing changes.
func (r *reloader) reload() error {
	if r.settings == nil {
		return nil
	}

	all, err := r.settings()
	if err != nil {
		return err
	}

	now := byKey(all)
	levels, err := parseLevels(now["log_level"])
	if err != nil {
		return err
	}

	tags, err := cli.ParseTags(listOf(now["tags"]))
	if err != nil {
		return err
	}

	drain, err := newDrainOptions(now["drain"], listOf(now["drain_to"]), now["drain_deadline"])
	if err != nil {
		return err
	}

	r.logs.set(levels)
	r.node.SetTags(tags)
	r.drain.Store(&drain)
	var taken, waiting []string

	for _, v := range all {
		switch {
		case v.Value == r.last[v.Key]:
		case slices.Contains(reloadable, v.Key):
			taken = append(taken, v.Key)
			r.last[v.Key] = v.Value
		case strings.HasPrefix(settingUsage(v.Key), "serve: ") || strings.HasPrefix(v.Key, "limits."):
			waiting = append(waiting, v.Key) // each time, until there is a restart
		}
	}

	for key := range r.last {
		if _, ok := now[key]; !ok {
			waiting = append(waiting, key) // a limit that is no more
		}
	}

	slices.Sort(waiting)
	slices.Sort(taken)
	if len(taken) > 0 {
		r.logger.Info("settings have changed", "settings", strings.Join(taken, ", "))
	}

	if len(waiting) > 0 {
		r.logger.Warn("settings that changed count from the next start on", "settings", strings.Join(waiting, ", "))
	}
	return nil
}

// listOf is a list as a setting holds it: texts with commas between.
func listOf(text string) (l cli.List) {
	_ = l.Set(text) // never fails
	return l
}

func settingUsage(key string) string {
	for _, s := range cli.Settings() {
		if s.Key() == key {
			return s.Usage
		}
	}
	return ""
}
