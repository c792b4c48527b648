package access

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// API is the command api.
func API(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "api", Short: "Who may use the node's API over TCP"}
	token := &cobra.Command{Use: "token", Short: "Tokens of callers over TCP"}
	token.AddCommand(issueTokenCommand(a), listTokensCommand(a), revokeTokenCommand(a))
	c.AddCommand(token)
	return c
}

func issueTokenCommand(a *cli.App) *cobra.Command {
	var req api.IssueToken
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "issue --name NAME",
		Short: "Issue a token for callers over TCP",
		Long: `Issue a token by which a caller names itself to serve --api. It is printed once:
the node keeps a hash. Scopes are

  read     see what there is: daemons, outputs, logs, chains, snapshots, metrics
  send     send events
  operate  both, and stop, upgrade, mend and move daemons, and drain the node
  owner    everything, tokens included

and several can stand with commas between.`,
		Example: "  wasmhost api token issue --name ci --scope read,send --ttl 24h -o name > ci.token",
		Args:    cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if req.Name == "" {
				return cli.Usagef("give the token a --name, to know it by")
			}

			req.TTL = ttl.String()
			t, err := a.Client().Tokens().Issue(c.Context(), req)
			if err != nil {
				return err
			}

			return a.Print(t, func(w io.Writer) {
				fmt.Fprintf(w, "%s\n", t.Token)
				fmt.Fprintf(a.Err, "token %s, scope %s, until %s\n", t.ID, t.Scope, t.Expires.Format(time.RFC3339))
			}, func() string { return t.Token })
		},
	}

	c.Flags().StringVar(&req.Name, "name", "", "whose the token is")
	c.Flags().StringVar(&req.Scope, "scope", "read", "read, send, operate or owner; several with commas between")
	c.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "for how long it is good, at most 366 days")
	return c
}

func listTokensCommand(a *cli.App) *cobra.Command {
	return cli.Printing(a, &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the tokens", Example: "  wasmhost api token ls", Args: cli.Exact(0)}, cli.Listing[api.APIToken]{
		Get:  func(c *cobra.Command) ([]api.APIToken, error) { return a.Client().Tokens().List(c.Context()) },
		Head: "ID\tNAME\tSCOPE\tEXPIRES",
		Row: func(t api.APIToken) string {
			return t.ID + "\t" + t.Name + "\t" + t.Scope + "\t" + t.Expires.Format(time.RFC3339)
		},
		Name: func(t api.APIToken) string { return t.ID },
	})
}

func revokeTokenCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "revoke ID", Short: "Revoke a token: what it was let in for ends", Example: "  wasmhost api token revoke 5f1c7a90d2b3e846", Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		t, err := a.Client().Tokens().Revoke(c.Context(), args[0])
		if err != nil {
			return err
		}
		return a.Print(t, func(w io.Writer) { fmt.Fprintf(w, "token %s of %s is revoked\n", t.ID, t.Name) }, func() string { return t.ID })
	}}
}
