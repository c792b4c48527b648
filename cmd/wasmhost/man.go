package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"wasmhost.example/cmd/wasmhost/cli"
)

// manCommand writes the manual's pages, for those who package this program.
func manCommand(a *cli.App, root *cobra.Command) *cobra.Command {
	return &cobra.Command{Use: "man DIR", Short: "Write a manual page for each command", Hidden: true, Example: "  wasmhost man ./man1", Args: cli.Exact(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			root.DisableAutoGenTag = true // the same input makes the same pages
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "WASMHOST", Section: "1", Source: "wasmhost " + buildVersion(), Manual: "wasmhost"}, args[0]); err != nil {
				return fmt.Errorf("writing manual pages: %w", err)
			}
			return nil
		}}
}
