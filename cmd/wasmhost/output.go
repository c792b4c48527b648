package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"github.com/spf13/cobra"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"wasmhost/wire/control"
)

// print writes an answer in the format that was asked for: v as JSON, or what
// table writes, or the name.
func (a *app) print(v any, table func(io.Writer), name func() string) error {
	switch a.format {
	case "json", "jsonl":
		return json.NewEncoder(a.out).Encode(v)
	case "name":
		_, err := fmt.Fprintln(a.out, name())
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// printList is print for many: JSON lines are one each.
func printList[T any](a *app, list []T, head string, row func(T) string, name func(T) string) error {
	switch a.format {
	case "json":
		return json.NewEncoder(a.out).Encode(list)
	case "jsonl":
		enc := json.NewEncoder(a.out)
		for _, v := range list {
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
		return nil
	case "name":
		for _, v := range list {
			if _, err := fmt.Fprintln(a.out, name(v)); err != nil {
				return err
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, head)
	for _, v := range list {
		fmt.Fprintln(w, row(v))
	}
	return w.Flush()
}

// confirm asks before something is destroyed. Without a terminal it takes
// --yes and nothing else.
func (a *app) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	refused := &exitError{control.ExitNotConfirmed, fmt.Errorf("%s: not confirmed", what)}
	if !a.asks {
		return refused
	}
	fmt.Fprintf(a.err, "%s? [y/N] ", what)
	line, err := bufio.NewReader(a.in).ReadString('\n')
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

// client speaks to the node.
func (a *app) client() *control.Client {
	a.asked.Store(true)
	c := a.remote
	if c == nil {
		c = control.Dial(a.socket)
	}
	if a.format == "table" || a.format == "name" {
		c = c.Printable()
	}
	return c.Trace(os.Getenv("TRACEPARENT")) // of who runs this program, if it is traced
}

// dialURL makes the client of --url, where that is given.
func (a *app) dialURL(c *cobra.Command) error {
	base := c.Flag("url").Value.String()
	if base == "" {
		return nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return usagef("--url %q is not https://HOST:PORT: a token must not go unprotected", base)
	}
	token := ""
	if path := c.Flag("token-file").Value.String(); path != "" {
		b, err := a.readFile(path)
		if err != nil {
			return fmt.Errorf("reading the API token: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	var roots *x509.CertPool
	if path := c.Flag("ca-file").Value.String(); path != "" {
		b, err := a.readFile(path)
		if err != nil {
			return fmt.Errorf("reading --ca-file: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(b) {
			return usagef("--ca-file %s holds no certificate", path)
		}
	}
	a.remote = control.DialTLS(base, token, roots)
	return nil
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

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
