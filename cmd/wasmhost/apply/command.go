package apply

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
)

// Apply is the command apply.
func Apply(a *cli.App) *cobra.Command {
	var files []string
	var yes, prune bool
	c := &cobra.Command{Use: "apply -f FILE", Short: "Make what files say: kinds, channels, daemons, groups and grants", Long: `Compare what files say with what the node has, print the difference, ask, and change what
differs. FILE is TOML or YAML, - standard input, or a directory, of which all .toml, .yaml and
.yml are read; -f may stand several times. What is as it should be is left alone: a second
apply has nothing to do.

    application = "shop"           # its name; default: default

    [[kind]]
    name = "counter"
    module = "counter.wasm"        # uploaded where its digest is another
    limits = { memory = "16MiB" }

    [[channel]]
    name = "orders"

    [[daemon]]
    name = "c1"                    # daemons are known by their names
    kind = "counter"               # upgraded where the kind's module is another
    subscribe = ["a/orders"]

    [[group]]
    name = "workers"
    kind = "counter"
    size = 3

    [[grant]]
    daemon = "c1"
    may_send = ["c2"]

A daemon's config, ack and standbys, and a group's config and strategy, are for making it:
what is there keeps them. Limits, grants and subscriptions that no file names stay.

--prune also removes what an earlier apply of the same application made and the files name no
more. The node that is asked remembers what that is (GET /v1/applications), for all who ask
it; what was made otherwise is never removed.

Where a change fails those after it are not made; what was made is said, and another apply
goes on from there. "wasmhost get" writes what apply reads.`, Example: `  wasmhost apply -f app.toml
  wasmhost apply -f app.toml --dry-run
  wasmhost apply -f kinds.yaml -f daemons.yaml --prune --yes
  wasmhost get -o yaml | wasmhost apply -f - --yes`, Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) error {
		if len(files) == 0 {
			return cli.Usagef("apply needs -f FILE, - for standard input")
		}
		dry := c.Flag("dry-run").Value.String() == "true"
		want, err := read(a, files)
		if err != nil {
			return err
		}
		node := a.Client()
		record, err := recordOf(c.Context(), node, want.Application)
		if err != nil {
			return err
		}
		have, err := presentOf(c.Context(), node, want, record.Made)
		if err != nil {
			return err
		}
		steps, err := Plan(want, have, record.Made, prune)
		if err != nil {
			return err
		}
		if len(steps) == 0 {
			return print(a, steps, func(w io.Writer) { fmt.Fprintln(w, "nothing to do") })
		}
		if dry {
			return print(a, steps, func(w io.Writer) { writeDiff(w, steps); fmt.Fprintf(w, "%d changes would be made\n", len(steps)) })
		}
		if a.Format == "table" {
			writeDiff(a.Err, steps)
		}
		if err := a.Confirm(yes, fmt.Sprintf("make %d changes of application %s", len(steps), want.Application)); err != nil {
			return err
		}
		r := &running{c: node, want: want, have: have, record: record, steps: steps, tell: func(s Step) {
			if a.Format == "table" {
				fmt.Fprintf(a.Out, "done: %s\n", s.text())
			}
		}}
		done, err := r.all(c.Context())
		if a.Format != "table" {
			if printErr := print(a, steps, nil); printErr != nil {
				return printErr
			}
		}
		if err != nil {
			return fmt.Errorf("%d of %d changes were made, apply again to go on: %w", done, len(steps), err)
		}
		return nil
	}}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "file or directory; - is standard input; may stand several times")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&prune, "prune", false, "remove what an earlier apply of the application made and the files name no more")
	c.Flags().Bool("dry-run", false, "print the difference, and change nothing")
	return c
}

// print prints the steps as JSON, by name, or what table writes.
func print(a *cli.App, steps []Step, table func(io.Writer)) error {
	if steps == nil {
		steps = []Step{}
	}
	if a.Format == "table" {
		table(a.Out)
		return nil
	}
	return cli.PrintList(a, steps, "", Step.text, func(s Step) string { return s.Type + "/" + s.Name })
}

// text is the step for people.
func (s Step) text() string {
	text := fmt.Sprintf("%s %s %s", s.Do, s.Type, cli.OneLine(s.Name))
	if s.Type == "grant" {
		text = fmt.Sprintf("%s: %s", s.Do, cli.OneLine(s.Name))
	}
	if s.Detail != "" {
		text += " (" + cli.OneLine(s.Detail) + ")"
	}
	return text
}

func writeDiff(w io.Writer, steps []Step) {
	for _, s := range steps {
		fmt.Fprintf(w, "%s %s\n", s.sign(), s.text())
	}
}

// read reads the files, and the modules that they name.
func read(a *cli.App, names []string) (*App, error) {
	var files []string
	for _, name := range names {
		entries, err := os.ReadDir(name)
		if name == "-" || err != nil { // a file, or what reading it says
			files = append(files, name)
			continue
		}
		before := len(files)
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && slices.Contains([]string{".toml", ".yaml", ".yml"}, ext) {
				files = append(files, filepath.Join(name, e.Name()))
			}
		}
		if len(files) == before {
			return nil, cli.Usagef("%s has no .toml, .yaml or .yml", name)
		}
	}
	if len(files) > maxFiles {
		return nil, cli.Usagef("%d files, at most %d are read", len(files), maxFiles)
	}
	want := &App{}
	for _, file := range files {
		in, err := a.Open(file)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
		if closeErr := in.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return nil, err
		}
		app, err := Parse(file, text)
		if err == nil {
			err = want.merge(app, place{file: file})
		}
		if err != nil {
			return nil, cli.Usagef("%v", err)
		}
	}
	if want.Application == "" {
		want.Application = defaultApplication
	}
	return want, readModules(a, want)
}

func readModules(a *cli.App, want *App) error {
	for i := range want.Kinds {
		k := &want.Kinds[i]
		if k.Module == "" {
			continue
		}
		path := k.Module
		if !filepath.IsAbs(path) && k.at.file != "-" {
			path = filepath.Join(filepath.Dir(k.at.file), path)
		}
		wasm, err := a.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s: the module of kind %s: %w", k.at, k.Name, err)
		}
		sum := sha256.Sum256(wasm)
		digest := hex.EncodeToString(sum[:])
		if k.Digest != "" && !strings.EqualFold(k.Digest, digest) {
			return cli.Usagef("%s: kind %s is to be of module %.12s, and %s is %.12s", k.at, k.Name, k.Digest, path, digest)
		}
		k.wasm, k.Digest = wasm, digest
	}
	return nil
}
