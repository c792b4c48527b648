package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/host/placement"
)

// List is the value of a flag that may stand several times, or hold several
// texts with commas between.
type List struct{ Texts []string }

// Set implements pflag.Value: it adds to what was set before.
func (l *List) Set(s string) error {
	for _, t := range strings.Split(s, ",") {
		if t = strings.TrimSpace(t); t == "" {
			return errors.New("it has an empty part")
		}
		l.Texts = append(l.Texts, t)
	}
	return nil
}

// String implements pflag.Value.
func (l *List) String() string { return strings.Join(l.Texts, ",") }

// Type implements pflag.Value.
func (l *List) Type() string { return "list" }

// Where are the flags that say what a daemon requires of its node.
type Where struct {
	tags, prefer List
	free, spread string
	alike        int
	pack         bool
}

// Declare gives c the flags.
func (w *Where) Declare(c *cobra.Command) {
	c.Flags().Var(&w.tags, "where", "KEY=VALUE: the node must have this tag; may stand several times")
	c.Flags().StringVar(&w.free, "min-free", "", "the node must have so much memory free, such as 512MiB")
	c.Flags().Var(&w.prefer, "prefer", "KEY=VALUE: nodes that have this tag come first; may stand several times")
	c.Flags().StringVar(&w.spread, "spread", "", "node, or the key of a tag: what has the fewest daemons of its kind comes first")
	c.Flags().IntVar(&w.alike, "max-alike", 0, "the node may have so many daemons of its kind, this one included; 0: any number")
	c.Flags().BoolVar(&w.pack, "pack", false, "the node that has the most daemons comes first, so that others stay free")
}

// Given reports whether one of the flags was given.
func (w *Where) Given() bool {
	return len(w.tags.Texts)+len(w.prefer.Texts) > 0 || w.free != "" || w.spread != "" || w.alike != 0 || w.pack
}

// Place is what the flags require, or an error of usage.
func (w *Where) Place() (p api.Place, err error) {
	if p.Where, err = ParseTags(w.tags); err != nil {
		return p, err
	}
	if p.Prefer, err = ParseTags(w.prefer); err != nil {
		return p, err
	}
	p.Spread, p.Pack, p.MaxAlike = w.spread, w.pack, w.alike
	p.MinFree, err = ParseSize(w.free)
	return p, err
}

// ParseTags reads KEY=VALUE tags, or returns an error of usage.
func ParseTags(l List) (map[string]string, error) {
	tags, err := placement.ParseTags(l.Texts)
	if err != nil {
		return nil, Usagef("%v", err)
	}
	return tags, nil
}
