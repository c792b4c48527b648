package serve

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"

	"wasmhost.example/cmd/wasmhost/cli"
)

// components are the parts of a node whose logs can have levels of their own.
var components = []string{"node", "host", "store", "wire", "control", "audit", "cluster"}

// logging makes the loggers of a node's parts.
type logging struct {
	handler slog.Handler              // of every level
	levels  map[string]*slog.LevelVar // by component
}

// parseLevels reads --log-level: a level, or COMPONENT=LEVEL, or several with commas
// between. It returns the level of each component.
func parseLevels(levels string) (map[string]slog.Level, error) {
	of := make(map[string]slog.Level)
	var others slog.Level
	for _, part := range strings.Split(levels, ",") {
		component, name, named := strings.Cut(strings.TrimSpace(part), "=")
		if !named {
			name = component
		}

		var level slog.Level
		if err := level.UnmarshalText([]byte(name)); err != nil {
			return nil, cli.Usagef("--log-level %q: %q is none of debug, info, warn and error", levels, name)
		}

		switch {
		case !named:
			others = level
		case slices.Contains(components, component):
			of[component] = level
		default:
			return nil, cli.Usagef("--log-level %q: %q is none of %s", levels, component, strings.Join(components, ", "))
		}
	}

	for _, c := range components {
		if _, ok := of[c]; !ok {
			of[c] = others
		}
	}
	return of, nil
}

// newLogging makes the loggers by --log-level and --log-format.
func newLogging(out io.Writer, levels, format string) (*logging, error) {
	of, err := parseLevels(levels)
	if err != nil {
		return nil, err
	}

	l := &logging{levels: make(map[string]*slog.LevelVar)}
	for _, c := range components {
		l.levels[c] = &slog.LevelVar{}
	}

	l.set(of)
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	switch format {
	case "text":
		l.handler = slog.NewTextHandler(out, all)
	case "json":
		l.handler = slog.NewJSONHandler(out, all)
	default:
		return nil, cli.Usagef("--log-format %q is neither text nor json", format)
	}

	return l, nil
}

// set changes the levels, also of loggers that were made.
func (l *logging) set(of map[string]slog.Level) {
	for c, level := range of {
		l.levels[c].Set(level)
	}
}

// of returns the logger of a component.
func (l *logging) of(component string) *slog.Logger { return l.logger().With("component", component) }

// logger returns a logger that has the level of the component that it is given
// (slog.Logger.With), or else that of the node.
func (l *logging) logger() *slog.Logger {
	return slog.New(&leveled{l.handler, l.levels["node"], l.levels})
}

// leveled drops what is below its level.
type leveled struct {
	slog.Handler
	level  *slog.LevelVar
	levels map[string]*slog.LevelVar // by component
}

func (h *leveled) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level.Level() }

func (h *leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	level := h.level
	for _, a := range attrs {
		if of, ok := h.levels[a.Value.String()]; ok && a.Key == "component" {
			level = of
		}
	}
	return &leveled{h.Handler.WithAttrs(attrs), level, h.levels}
}

func (h *leveled) WithGroup(name string) slog.Handler {
	return &leveled{h.Handler.WithGroup(name), h.level, h.levels}
}
