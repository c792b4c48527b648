// Package apply has the verbs apply and get: what a node is to have stands in files, and is
// compared with what it has.
package apply

import (
	"errors"
	"fmt"
	"strings"
)

// App is what a node is to have of one application, or has.
type App struct {
	Application string    `json:"application,omitempty"` // its name; empty: default
	Kinds       []Kind    `json:"kind,omitempty"`
	Channels    []Channel `json:"channel,omitempty"`
	Daemons     []Daemon  `json:"daemon,omitempty"`
	Groups      []Group   `json:"group,omitempty"`
	Grants      []Grant   `json:"grant,omitempty"`
}

// Kind is a kind: its module is a file, or a digest that the kind is of already.
type Kind struct {
	Name   string            `json:"name"`
	Module string            `json:"module,omitempty"` // a file, relative to the one that names it
	Digest string            `json:"digest,omitempty"` // hexadecimal; beside a module: it is of no other
	Limits map[string]string `json:"limits,omitempty"` // as wasmhost limits set takes them

	wasm   []byte           // of the module, once it was read
	limits map[string]int64 // Limits, read
	at     place
}

// Channel is a channel of the node.
type Channel struct {
	Name       string   `json:"name"`
	Gated      bool     `json:"gated,omitempty"`
	Family     bool     `json:"family,omitempty"`
	TokenRoots []string `json:"token_roots,omitempty"` // entity ids
	KeepEvents int64    `json:"keep_events,omitempty"`
	KeepBytes  int64    `json:"keep_bytes,omitempty"`
	KeepFor    string   `json:"keep_for,omitempty"`

	at place
}

// Daemon is a daemon, which is known by its name. Config and the standbys are for making it.
type Daemon struct {
	Name      string            `json:"name"`
	Kind      string            `json:"kind"`
	Config    string            `json:"config,omitempty"`
	Limits    map[string]string `json:"limits,omitempty"`
	Standbys  int64             `json:"standbys,omitempty"`
	Ack       string            `json:"ack,omitempty"`
	Subscribe []string          `json:"subscribe,omitempty"` // NODE/CHANNEL

	limits map[string]int64
	at     place
}

// Group is a group of daemons. All but the size is for making it.
type Group struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Size     int64  `json:"size"`
	Strategy string `json:"strategy,omitempty"`
	Config   string `json:"config,omitempty"`
	Standbys int64  `json:"standbys,omitempty"`
	Ack      string `json:"ack,omitempty"`

	at place
}

// Grant is what a daemon may do.
type Grant struct {
	Daemon     string   `json:"daemon"`
	MaySend    []string `json:"may_send,omitempty"`    // daemons: names or entity ids, or *
	MayPublish []string `json:"may_publish,omitempty"` // NODE/CHANNEL, NODE/PREFIX/* or NODE/*

	at place
}

// place is where in a file something stands.
type place struct {
	file string
	line int // 0: not known
}

func (p place) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("%s:%d", p.file, p.line)
}

// ErrFile says that a file does not say what a node is to have.
var ErrFile = errors.New("not a file of wasmhost apply")

func (p place) errorf(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrFile, p, fmt.Errorf(format, args...))
}

// defaultApplication is the name of what has none.
const defaultApplication = "default"

// Bounds on what is read.
const (
	maxFile   = 1 << 20 // bytes of one file
	maxFiles  = 256     // in one command
	maxThings = 4096    // kinds, channels, daemons, groups and grants of an application
	maxDepth  = 8       // tables in one another
)

// merge adds what another file says. What stands in both is refused.
func (a *App) merge(b *App, at place) error {
	if a.Application != "" && b.Application != "" && a.Application != b.Application {
		return at.errorf("it is of application %q, files before are of %q: apply one at a time", b.Application, a.Application)
	}
	if b.Application != "" {
		a.Application = b.Application
	}
	a.Kinds = append(a.Kinds, b.Kinds...)
	a.Channels = append(a.Channels, b.Channels...)
	a.Daemons = append(a.Daemons, b.Daemons...)
	a.Groups = append(a.Groups, b.Groups...)
	a.Grants = append(a.Grants, b.Grants...)
	return a.check()
}

// check returns nil where each thing has what it needs, and none stands twice.
func (a *App) check() error {
	if n := len(a.Kinds) + len(a.Channels) + len(a.Daemons) + len(a.Groups) + len(a.Grants); n > maxThings {
		return fmt.Errorf("%w: it names %d things, at most %d", ErrFile, n, maxThings)
	}
	seen := make(map[string]place)
	once := func(what, name string, at place) error {
		if name == "" {
			return at.errorf("a %s needs a name", what)
		}
		key := what + " " + name
		if before, ok := seen[key]; ok {
			return at.errorf("%s stands in %s already", key, before)
		}
		seen[key] = at
		return nil
	}
	for _, k := range a.Kinds {
		if err := once("kind", k.Name, k.at); err != nil {
			return err
		}
		if k.Module == "" && k.Digest == "" {
			return k.at.errorf("kind %s needs a module", k.Name)
		}
	}
	for _, c := range a.Channels {
		if err := once("channel", c.Name, c.at); err != nil {
			return err
		}
	}
	for _, d := range a.Daemons {
		if err := once("daemon", d.Name, d.at); err != nil {
			return err
		}
		if d.Kind == "" {
			return d.at.errorf("daemon %s needs a kind", d.Name)
		}
		for _, s := range d.Subscribe {
			if node, channel, ok := strings.Cut(s, "/"); !ok || node == "" || channel == "" {
				return d.at.errorf("daemon %s: subscribe has %q, which is not NODE/CHANNEL", d.Name, s)
			}
		}
	}
	for _, g := range a.Groups {
		if err := once("group", g.Name, g.at); err != nil {
			return err
		}
		if g.Kind == "" || g.Size < 1 {
			return g.at.errorf("group %s needs a kind, and a size of at least 1", g.Name)
		}
	}
	for _, g := range a.Grants {
		if g.Daemon == "" {
			return g.at.errorf("a grant needs a daemon")
		}
		for _, p := range g.MayPublish {
			if node, channel, ok := strings.Cut(p, "/"); !ok || node == "" || channel == "" {
				return g.at.errorf("the grant of %s: may_publish has %q, which is not NODE/CHANNEL", g.Daemon, p)
			}
		}
	}
	return nil
}
