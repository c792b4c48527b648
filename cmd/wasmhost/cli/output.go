package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/render"
)

// Print writes an answer in the format that was asked for: v as JSON, or what
// table writes, or the name.
func (a *App) Print(v any, table func(io.Writer), name func() string) error {
	switch a.Format {
	case "json", "jsonl":
		if a.collected != nil {
			a.collected = append(a.collected, v)
			return nil
		}
		return json.NewEncoder(a.Out).Encode(v)
	case "name":
		_, err := fmt.Fprintln(a.Out, name())
		return err
	}
	return a.table(table)
}

// table writes lines whose cells have tabs between, in columns.
func (a *App) table(write func(io.Writer)) error {
	var columns bytes.Buffer
	w := tabwriter.NewWriter(&columns, 0, 8, 2, ' ', 0)
	cells := newPrintable(w)
	write(cells)
	cells.end()
	if err := w.Flush(); err != nil {
		return err
	}
	out, text := a.Out, columns.String()
	if colours(out) {
		a.Spoke.Store(true)
		out, text = Bare(out), painted(text)
	}
	_, err := io.WriteString(out, text)
	return err
}

// PrintList is print for many: JSON lines are one each. Columns whose head begins with +
// are shown with -o wide; an empty head is not printed.
func PrintList[T any](a *App, list []T, head string, row func(T) string, name func(T) string) error {
	switch a.Format {
	case "json":
		return json.NewEncoder(a.Out).Encode(list)
	case "jsonl":
		enc := json.NewEncoder(a.Out)
		for _, v := range list {
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
		return nil
	case "name":
		for _, v := range list {
			if _, err := fmt.Fprintln(a.Out, name(v)); err != nil {
				return err
			}
		}
		return nil
	}
	heads := strings.Split(head, "\t")
	return a.table(func(w io.Writer) {
		if head != "" {
			fmt.Fprintln(w, strings.ReplaceAll(a.columns(heads, head), "+", ""))
		}
		for _, v := range list {
			fmt.Fprintln(w, a.columns(heads, row(v)))
		}
	})
}

// columns returns the cells of a row that are shown.
func (a *App) columns(heads []string, row string) string {
	if a.Wide {
		return row
	}
	var shown []string
	for i, cell := range strings.Split(row, "\t") {
		if i >= len(heads) || !strings.HasPrefix(heads[i], "+") {
			shown = append(shown, cell)
		}
	}
	return strings.Join(shown, "\t")
}

// setFormat has a answer in the format that -o names.
func (a *App) setFormat(c *cobra.Command, text string) error {
	a.Format = "table"
	switch text {
	case "table", "json", "jsonl", "name":
		a.Format = text
		return nil
	case "toml":
		if c.Name() == "get" { // which writes it without being asked
			return nil
		}
	case "wide":
		a.Wide = true
		return nil
	}
	format, err := render.Parse(text)
	if errors.Is(err, render.ErrFormat) && strings.Contains(text, "=") {
		return Usagef("-o: %v", err)
	}
	if err != nil {
		return Usagef("-o %q is none of table, wide, json, jsonl, name, %s", text, render.Names)
	}
	a.Format, a.rendered = "json", render.NewWriter(a.Out, format, follows(c))
	a.Out = a.rendered
	return nil
}

// Confirm asks before something is destroyed. Without a terminal it takes
// --yes and nothing else.
func (a *App) Confirm(yes bool, what string) error {
	if yes || a.DryRun {
		return nil
	}
	if of := a.contextText(); of != "" {
		what += ", in context " + of
	}
	refused := ExitWith(api.ExitNotConfirmed, fmt.Errorf("%s: not confirmed", what))
	if !a.Asks {
		return refused
	}
	fmt.Fprintf(a.Err, "%s? [y/N] ", what)
	line, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	return refused
}

func terminal(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(st, null)
}

// Client speaks to the node.
func (a *App) Client() *client.Client {
	a.asked.Store(true)
	c := a.remote
	if c == nil {
		c = client.Dial(a.Target.Socket)
	}
	if a.Format == "table" || a.Format == "name" {
		c = c.Printable()
	}
	if a.DryRun {
		c = c.DryRun()
	}
	return c.Trace(os.Getenv("TRACEPARENT")) // of who runs this program, if it is traced
}

func defaultSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "wasmhost.sock")
	}
	return filepath.Join(home(), ".wasmhost", "wasmhost.sock")
}

func defaultData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "wasmhost")
	}
	return filepath.Join(home(), ".local", "share", "wasmhost")
}

func home() string {
	dir, err := os.UserHomeDir()
	if err != nil {
		return os.TempDir()
	}
	return dir
}

// Size writes bytes for people.
func Size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
