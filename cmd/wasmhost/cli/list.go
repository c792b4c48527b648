package cli

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/render"
)

// Listing is a list that a command prints.
type Listing[T any] struct {
	Get  func(*cobra.Command) ([]T, error)
	Head string // columns with tabs between; those that begin with + are shown with -o wide
	Row  func(T) string
	Name func(T) string
}

// listFlags are the flags of commands that print a list.
type listFlags struct {
	filters  []string
	sortBy   string
	watch    bool
	interval time.Duration
	quiet    bool

	filter []render.Filter
	order  *render.Order
}

const listHelp = `

--filter FIELD=VALUE keeps the rows whose field, as -o json names it, has the value; * in
it stands for any text, and | separates values of which one does. != < <= > >= compare.
Several must all hold, also with commas between. --sort-by FIELD sorts, from the largest
down after -. --watch goes on and prints rows that change.`

// Printing makes c print a list when it is run.
func Printing[T any](a *App, c *cobra.Command, l Listing[T]) *cobra.Command {
	f := &listFlags{}
	c.Flags().StringArrayVarP(&f.filters, "filter", "l", nil, "FIELD=VALUE: only rows whose field has this value; may stand several times")
	c.Flags().StringVar(&f.sortBy, "sort-by", "", "sort by this field; -FIELD: from the largest down")
	c.Flags().BoolVarP(&f.watch, "watch", "w", false, "go on, and print the rows that change")
	c.Flags().DurationVar(&f.interval, "interval", 2*time.Second, "how often --watch looks, at least 100ms")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "only names, as with -o name")
	if c.Long == "" {
		c.Long = c.Short + "."
	}
	c.Long += listHelp

	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := f.parse(reflect.TypeFor[T]()); err != nil {
			return err
		}
		if f.quiet {
			a.Format = "name"
		}
		if f.watch {
			return UntilInterrupted(c, watch(a, c, l, f))
		}
		list, err := l.Get(c)
		if err != nil {
			return err
		}
		if list, err = picked(a, f, list); err != nil {
			return err
		}
		return PrintList(a, list, l.Head, l.Row, l.Name)
	}
	return c
}

func (f *listFlags) parse(of reflect.Type) (err error) {
	if f.interval < 100*time.Millisecond {
		return Usagef("--interval %v: give at least 100ms", f.interval)
	}
	if f.filter, err = render.ParseFilters(f.filters); err != nil {
		return Usagef("--filter: %v", err)
	}
	known := append(render.Fields(of), "node")
	for _, one := range f.filter {
		if !slices.Contains(known, one.Field()) {
			return Usagef("--filter: there is no field %q: %s", one.Field(), strings.Join(known, ", "))
		}
	}
	f.order = nil
	if f.sortBy == "" {
		return nil
	}
	order, err := render.ParseOrder(f.sortBy)
	if err != nil {
		return Usagef("--sort-by: %v", err)
	}
	if !slices.Contains(known, order.Field()) {
		return Usagef("--sort-by: there is no field %q: %s", order.Field(), strings.Join(known, ", "))
	}
	f.order = &order
	return nil
}

// picked returns the rows that meet the filters, in the order that was asked for.
func picked[T any](a *App, f *listFlags, list []T) ([]T, error) {
	if len(f.filter) == 0 && f.order == nil {
		return list, nil
	}
	type row struct {
		v      T
		fields map[string]any
	}
	rows := []row{}
	for _, v := range list {
		fields, err := render.Object(v)
		if err != nil {
			return nil, err
		}
		if id, ok := fields["node_id"].(string); ok && f.about("node") {
			fields["node"] = []any{a.NodeName(id), id}
		}
		if !slices.ContainsFunc(f.filter, func(one render.Filter) bool { return !one.Meets(fields) }) {
			rows = append(rows, row{v, fields})
		}
	}
	if f.order != nil {
		slices.SortStableFunc(rows, func(x, y row) int { return f.order.Compare(x.fields, y.fields) })
	}
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = r.v
	}
	return out, nil
}

// about reports whether a filter or the order is about the field.
func (f *listFlags) about(field string) bool {
	return f.order != nil && f.order.Field() == field || slices.ContainsFunc(f.filter, func(one render.Filter) bool { return one.Field() == field })
}

// watch prints the list, and then what changes of it: on a terminal all of it in the
// place of what was there, else the rows that are new or have changed.
func watch[T any](a *App, c *cobra.Command, l Listing[T], f *listFlags) error {
	w := watched{App: a}
	if a.Format == "json" {
		a.Format = "jsonl"
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.Context().Done():
			return c.Context().Err()
		}
		list, err := l.Get(c)
		if err == nil {
			list, err = picked(a, f, list)
		}
		if err != nil {
			return err
		}
		if err := showChanges(&w, list, l); err != nil {
			return err
		}
		timer.Reset(f.interval)
	}
}

// watched is what was shown of a list.
type watched struct {
	*App
	rounds int
	rows   map[string]string // by what tells a row from others
}

func showChanges[T any](w *watched, list []T, l Listing[T]) error {
	head, seen, changed := l.Head, make(map[string]string), []T{}
	for _, v := range list {
		fields, err := render.Object(v)
		if err != nil {
			return err
		}
		key, text := rowKey(fields), fmt.Sprint(fields)
		for n := 1; seen[key] != ""; n++ {
			key = fmt.Sprintf("%s#%d", rowKey(fields), n)
		}
		if seen[key] = text; w.rows[key] != text {
			changed = append(changed, v)
		}
	}
	var gone []string
	for key := range w.rows {
		if _, ok := seen[key]; !ok {
			gone = append(gone, key)
		}
	}
	w.rows = seen
	w.rounds++
	switch {
	case w.Format == "table" && IsTerminal(w.Out):
		if w.rounds > 1 && len(changed)+len(gone) == 0 {
			return nil
		}
		if _, err := io.WriteString(Bare(w.Out), "\x1b[H\x1b[2J"); err != nil {
			return err
		}
		return PrintList(w.App, list, l.Head, l.Row, l.Name)
	case w.rounds > 1:
		head = ""
	}
	slices.Sort(gone)
	for _, key := range gone {
		fmt.Fprintf(w.Err, "gone: %s\n", OneLine(key))
	}
	if w.rounds > 1 && len(changed) == 0 {
		return nil
	}
	return PrintList(w.App, changed, head, l.Row, l.Name)
}

// rowKey is what tells a row from others.
func rowKey(fields map[string]any) string {
	var key []string
	for _, k := range []string{"name", "entity_id", "id", "index", "digest"} {
		if v, ok := fields[k]; ok {
			key = append(key, fmt.Sprint(v))
		}
	}
	if len(key) == 0 {
		key = append(key, fmt.Sprint(fields["node_id"]))
	}
	return strings.Join(key, " ")
}
