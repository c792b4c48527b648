package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/host/placement"
)

// list is the value of a flag that may stand several times, or hold several
// texts with commas between.
type list struct{ texts []string }

// Set implements pflag.Value: it adds to what was set before.
func (l *list) Set(s string) error {
	for _, t := range strings.Split(s, ",") {
		if t = strings.TrimSpace(t); t == "" {
			return errors.New("it has an empty part")
		}
		l.texts = append(l.texts, t)
	}
	return nil
}

// String implements pflag.Value.
func (l *list) String() string { return strings.Join(l.texts, ",") }

// Type implements pflag.Value.
func (l *list) Type() string { return "list" }

// where are the flags that say what a daemon requires of its node.
type where struct {
	tags, prefer list
	free, spread string
	alike        int
	pack         bool
}

func (w *where) declare(c *cobra.Command) {
	c.Flags().Var(&w.tags, "where", "KEY=VALUE: the node must have this tag; may stand several times")
	c.Flags().StringVar(&w.free, "min-free", "", "the node must have so much memory free, such as 512MiB")
	c.Flags().Var(&w.prefer, "prefer", "KEY=VALUE: nodes that have this tag come first; may stand several times")
	c.Flags().StringVar(&w.spread, "spread", "", "node, or the key of a tag: what has the fewest daemons of its kind comes first")
	c.Flags().IntVar(&w.alike, "max-alike", 0, "the node may have so many daemons of its kind, this one included; 0: any number")
	c.Flags().BoolVar(&w.pack, "pack", false, "the node that has the most daemons comes first, so that others stay free")
}

func (w *where) given() bool {
	return len(w.tags.texts)+len(w.prefer.texts) > 0 || w.free != "" || w.spread != "" || w.alike != 0 || w.pack
}

func (w *where) place() (p api.Place, err error) {
	if p.Where, err = parseTags(w.tags); err != nil {
		return p, err
	}
	if p.Prefer, err = parseTags(w.prefer); err != nil {
		return p, err
	}
	p.Spread, p.Pack, p.MaxAlike = w.spread, w.pack, w.alike
	p.MinFree, err = parseSize(w.free)
	return p, err
}

func parseTags(l list) (map[string]string, error) {
	tags, err := placement.ParseTags(l.texts)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return tags, nil
}
