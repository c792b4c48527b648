package wasmhost_test

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/internal/rooms"
)

var update = flag.Bool("update", false, "write docs/limits.md")

// docs/limits.md is made of the code: of the limits that can be set, and of every constant
// that bounds something. A bound that is added, or changed, is on the page or this fails.
func TestLimitsPageIsOfTheCode(t *testing.T) {
	want := limitsPage(t)
	const page = "docs/limits.md"
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not of the code: go test . -run LimitsPage -update", page)
	}
	for _, bound := range []string{"`maxChannels` | 4096", "`MaxForks` | 256", "`MaxConfigBytes` | 512 KiB", "`memory` | 64 MiB"} {
		if !strings.Contains(want, bound) {
			t.Errorf("the page does not have %q", bound)
		}
	}
}

// bounding are the names of constants that bound something; also are others that do.
var (
	bounding = regexp.MustCompile(`^([mM]ax|most)[A-Z]`)
	also     = []string{"ArrivalsOfPeer", "ArrivalsOfNode", "MailboxBytes", "KeptLines", "Depth", "publishAtOnce"}
)

// parts are those of the page, by folders.
var parts = []struct{ title, dir string }{
	{"Daemons", "host"},
	{"Kinds and modules", "host/registry"},
	{"One daemon", "host/internal/engine"},
	{"What is stored of a daemon", "host/internal/stored"},
	{"What a history is read for", "host/internal/history"},
	{"Queries", "host/internal/query"},
	{"The last lines that a daemon logged", "host/internal/textlog"},
	{"Trying a guest outside a node", "host/guesttest"},
	{"What is asked of a daemon", "host/daemon"},
	{"The table of daemons", "host/internal/table"},
	{"Evidence", "host/internal/evidence"},
	{"Chains and their proofs", "host/chain"},
	{"Snapshots", "host/snapshot"},
	{"Effects: what daemons send, publish and set timers for", "host/effect"},
	{"Channels", "host/channel"},
	{"Proofs of where daemons are", "host/internal/residence"},
	{"Channels that a node publishes", "host/broker"},
	{"Subscriptions", "host/subscriber"},
	{"Effects on their way", "host/outbox"},
	{"Groups", "host/group"},
	{"Placement", "host/placement"},
	{"Draining", "host/drain"},
	{"Moves", "host/migration"},
	{"Moves away", "host/migration/source"},
	{"Moves here", "host/migration/target"},
	{"Standbys", "host/standby"},
	{"The cluster's directory", "host/directory"},
	{"The store", "host/store"},
	{"Backups", "host/backup"},
	{"Work that the node begins by itself", "host/fair"},
	{"Modules and the sandbox", "abi"},
	{"Instances", "host/internal/sandbox"},
	{"Keys, tokens and names", "identity"},
	{"Between nodes", "wire"},
	{"Join tokens", "wire/trust"},
	{"Encoded messages", "internal/canon"},
	{"The control API", "api"},
	{"The control API's client", "api/client"},
	{"The control API's server", "api/server"},
	{"Reading requests", "api/server/internal/web"},
	{"Letting requests in", "api/server/internal/access"},
	{"Finding daemons", "api/server/internal/locate"},
	{"Groups, as the API has them", "api/server/internal/groups"},
	{"Recovering a cluster", "api/server/cluster"},
	{"Rollouts", "api/server/internal/rollout"},
	{"Applications", "api/server/internal/applications"},
	{"The dashboard's gate", "api/server/gate"},
	{"The control socket", "api/server/socket"},
	{"Parameters of requests", "api/server/internal/query"},
	{"A node as a whole", "node"},
	{"The command line", "cmd/wasmhost/cli"},
	{"Verbs of daemons", "cmd/wasmhost/daemons"},
	{"The node's program", "cmd/wasmhost/serve"},
	{"Contexts of the command line", "cmd/wasmhost/contexts"},
	{"Files of wasmhost apply", "cmd/wasmhost/apply"},
}

func limitsPage(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# Limits

What a node, a kind or a daemon may take. An error that refuses something by one of these
bounds says its number. This page is made of the code (` + "`go test . -run LimitsPage -update`" + `).

## Limits that can be set

Of a node by ` + "`serve --limit NAME=VALUE` and `[limits]` in `wasmhost.toml`" + `; of a kind by
` + "`kind push --limit`; of a daemon by `spawn --limit`; of either, while daemons run, by\n`limits set`" + `. A daemon's hold over its kind's, and these over the node's. Those for which
the last column says so are the node's alone.

| limit | default | at most | what it bounds | |
|---|---|---|---|---|
`)
	for _, l := range daemon.SettableLimits() {
		whose := ""
		if !l.Own {
			whose = "the node's alone"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", l.Name, orAll(l.Unit, l.Default), orAll(l.Unit, l.Most), l.What, whose)
	}
	fmt.Fprintf(&b, `
Limits are compared with one another when they are given, and refused as `+"`limits-unfit`"+` where
they do not fit, with what to set:

- `+"`memory` is at most `state-bytes`"+`: what fits in memory can be saved and moved. The event that
  would need more memory fails, and leaves no trace.
- `+"`memory`"+` is at most what a node of the same limits takes in of a daemon that moves there:
  %s less `+"`module-bytes`"+` and 64 MiB, or the node's `+"`state-bytes`"+` if that is more. A node
  refuses a daemon that would not fit before anything is sent.
- `+"`event-bytes`, where it is given, is at most `memory`"+`.

A daemon that has %d %% of its memory, of `+"`state-bytes`, or of `senders`"+` is named by `+"`inspect`"+`, by
the metric `+"`wasmhost_daemons_near_limit`"+`, and once in the log.

## Bounds that cannot be set
`, amount(512<<20, "bytes"), daemon.NearPercent)
	all := constantsOf(t)
	for _, room := range parts {
		var list []*bound
		for _, c := range all[room.dir] {
			if (bounding.MatchString(c.name) || slices.Contains(also, c.name)) && c.name != "MaxDrift" { // a ratio
				list = append(list, c)
			}
		}
		if len(list) == 0 {
			continue
		}
		slices.SortFunc(list, func(a, b *bound) int { return cmp.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
		fmt.Fprintf(&b, "\n### %s\n\n| bound | at most | |\n|---|---|---|\n", room.title)
		for _, c := range list {
			v, ok := c.value(all)
			if !ok {
				t.Errorf("%s: the value of %s is not a constant that this test can work out", c.at, c.name)
			}
			if c.what == "" {
				t.Errorf("%s: the bound %s has no comment that says what it bounds", c.at, c.name)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.name, amount(v, c.what+" "+c.unit), c.what)
		}
	}
	for dir, list := range all {
		if !slices.ContainsFunc(parts, func(r struct{ title, dir string }) bool { return r.dir == dir }) {
			for _, c := range list {
				if bounding.MatchString(c.name) && !strings.Contains("/"+dir, "/internal/") && !strings.HasPrefix(dir, "scripts") && !strings.HasPrefix(dir, "guest-sdk") && !strings.HasPrefix(dir, "testdata") &&
					!slices.Contains([]string{"cmd/wasmhost/otlp", "cmd/wasmhost/project", "host/directory/etcd", "host/hosttest"}, dir) {
					t.Errorf("%s: the bound %s is in no part of the page", c.at, c.name)
				}
			}
		}
	}
	return b.String()
}

// orAll writes a limit that can be set; 0 and the largest number are no bound.
func orAll(u daemon.Unit, v int64) string {
	switch {
	case v == 0, v == math.MaxInt64:
		return "no bound"
	case u == daemon.Bytes:
		return amount(v, "bytes")
	case u == daemon.Nanoseconds:
		return time.Duration(v).String()
	}
	return strconv.FormatInt(v, 10)
}

var bytesToo = regexp.MustCompile(`(?i)\bbytes?\b`)

func amount(v int64, about string) string {
	if strings.Contains(about, "nanoseconds") {
		return time.Duration(v).String()
	}
	if bytesToo.MatchString(about) {
		for i, unit := range []string{"GiB", "MiB", "KiB"} {
			if shift := 10 * (3 - i); v >= 1<<shift && v%(1<<shift) == 0 {
				return fmt.Sprintf("%d %s", v>>shift, unit)
			}
		}
	}
	return strconv.FormatInt(v, 10)
}

// bound is one constant of a package.
type bound struct {
	dir, name, what, unit, at string
	expr                      ast.Expr
	imports                   map[string]string
}

// constantsOf reads the constants of all packages, by folder.
func constantsOf(t *testing.T) map[string]map[string]*bound {
	t.Helper()
	all := make(map[string]map[string]*bound)
	module, err := rooms.ModulePath(".")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	err = filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		imports := make(map[string]string)
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			as := path.Base(p)
			if i.Name != nil {
				as = i.Name.Name
			}
			imports[as] = strings.TrimPrefix(p, module+"/")
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				for _, s := range g.Specs {
					v := s.(*ast.ValueSpec)
					for i, id := range v.Names {
						if i >= len(v.Values) {
							continue
						}
						if all[dir] == nil {
							all[dir] = make(map[string]*bound)
						}
						all[dir][id.Name] = &bound{dir: dir, name: id.Name, what: said(id.Name, g, v), at: set.Position(id.Pos()).String(), expr: v.Values[i], imports: imports}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// said is what the comment says of a constant: that behind it, above it, or, of one that
// stands alone or has no other, above its declaration.
func said(name string, g *ast.GenDecl, v *ast.ValueSpec) string {
	for _, c := range []*ast.CommentGroup{v.Comment, v.Doc, g.Doc} {
		if c == nil {
			continue
		}
		text := strings.Join(strings.Fields(c.Text()), " ")
		text = strings.TrimPrefix(text, name+" ")
		text = strings.TrimPrefix(text, "is ")
		return strings.TrimSuffix(strings.ReplaceAll(text, "|", "\\|"), ".")
	}
	return ""
}

func (c *bound) value(all map[string]map[string]*bound) (int64, bool) {
	v, ok := c.eval(c.expr, all)
	if !ok {
		return 0, false
	}
	return constant.Int64Val(constant.ToInt(v))
}

var durations = map[string]time.Duration{"Nanosecond": 1, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}

func (c *bound) eval(e ast.Expr, all map[string]map[string]*bound) (constant.Value, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0), true
	case *ast.ParenExpr:
		return c.eval(e.X, all)
	case *ast.CallExpr: // a conversion, or the length of a literal
		if len(e.Args) != 1 {
			return nil, false
		}
		v, ok := c.eval(e.Args[0], all)
		if id, is := e.Fun.(*ast.Ident); ok && is && id.Name == "len" {
			return constant.MakeInt64(int64(len(constant.StringVal(v)))), true
		}
		return v, ok
	case *ast.Ident:
		if other := all[c.dir][e.Name]; other != nil {
			v, ok := other.eval(other.expr, all)
			c.unit += other.unit
			return v, ok
		}
	case *ast.SelectorExpr:
		from := c.imports[e.X.(*ast.Ident).Name]
		if from == "time" {
			c.unit = "nanoseconds"
			return constant.MakeInt64(int64(durations[e.Sel.Name])), true
		}
		if other := all[from][e.Sel.Name]; other != nil {
			v, ok := other.eval(other.expr, all)
			c.unit += other.unit
			return v, ok
		}
	case *ast.BinaryExpr:
		x, okX := c.eval(e.X, all)
		y, okY := c.eval(e.Y, all)
		if !okX || !okY {
			return nil, false
		}
		if e.Op == token.SHL || e.Op == token.SHR {
			n, ok := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(n)), ok
		}
		op := e.Op
		if op == token.QUO && x.Kind() == constant.Int && y.Kind() == constant.Int {
			op = token.QUO_ASSIGN // of integers
		}
		return constant.BinaryOp(x, op, y), true
	}
	return nil, false
}
