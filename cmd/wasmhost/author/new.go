package author

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/project"
)

// New is the command new.
func New(a *cli.App) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "new go|rust|c|assemblyscript|zig NAME",
		Short: "Begin a daemon: a project with a build, a test and the SDK",
		Long: `Begin a daemon: a folder with its source, a build command, a test that runs under
wasmhost check and wasmhost run, a README, and a copy of the language's SDK, so that
nothing else needs to be installed but the language itself: it says which compiler the
build will use, or how to install one.`,
		Example: `  wasmhost new rust tally
  cd tally && ./test && wasmhost dev`,
		Args: cli.Exact(2),
		RunE: func(c *cobra.Command, args []string) error {
			if dir == "" {
				dir = args[1]
			}

			files, err := project.New(dir, args[0], args[1])
			switch {
			case errors.Is(err, project.ErrLanguage), errors.Is(err, project.ErrName):
				return cli.Usagef("%v", err)
			case errors.Is(err, project.ErrExists):
				return cli.ExitWith(api.ExitConflict, err)
			case err != nil:
				return err
			}

			sort.Strings(files)
			uses, err := LookForTools(c.Context(), dir)
			if err != nil && !errors.Is(err, project.ErrTools) {
				return err
			}

			missing := ""
			if err != nil {
				missing = err.Error()
			}

			made := struct {
				Name     string   `json:"name"`
				Language string   `json:"language"`
				Dir      string   `json:"dir"`
				Files    []string `json:"files"`
				Uses     string   `json:"uses,omitempty"`    // by which the build is done
				Missing  string   `json:"missing,omitempty"` // what is to be installed
			}{args[1], args[0], dir, files, uses, missing}

			err = a.Print(made, func(w io.Writer) {
				for _, f := range files {
					fmt.Fprintf(w, "%s/%s\n", dir, f)
				}
			}, func() string { return args[1] })

			if err == nil && a.Format == "table" {
				if missing != "" {
					fmt.Fprintln(a.Err, missing)
				} else {
					fmt.Fprintf(a.Err, "builds by %s\n", uses)
				}
				fmt.Fprintf(a.Err, "next: cd %s && ./test; then wasmhost dev\n", dir)
			}

			return err
		},
	}

	c.Flags().StringVar(&dir, "dir", "", "the folder; default: the name")
	return c
}

// LookForTools looks for what the project in dir is built by.
func LookForTools(ctx context.Context, dir string) (string, error) {
	s, err := project.Read(dir)
	if err != nil {
		return "", err
	}
	return s.Look(ctx, dir)
}
