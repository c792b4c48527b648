// Package access has the verbs of who may do what, and which node commands are for: token,
// api, identity and context.
package access

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/identity"
)

// Token is the command token.
func Token(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Permission tokens for channels", Long: `Permission tokens for channels. A channel's roots are keys; a token is signed by
one of them and says what its subject, a daemon or a node, may do on the channel.
Its subject can delegate less than that to another, where the token permits it.`}
	c.AddCommand(tokenIssueCommand(a), tokenDelegateCommand(a), tokenInspectCommand(a), tokenRevokeCommand(a))
	return c
}

const scopeHelp = "what it permits: publish, subscribe, admin, delegate with commas between, or all; wildcard extends it to the channels beneath"

// signer are the flags that name who signs.
type signer struct{ keyFile, passFile string }

func (s *signer) flags(c *cobra.Command, usage string) {
	c.Flags().StringVar(&s.keyFile, "identity", "", usage)
	c.Flags().StringVar(&s.passFile, "passphrase-file", "", "file with the key file's passphrase")
	if err := c.MarkFlagRequired("identity"); err != nil {
		panic(err) // the flag is defined above
	}
}

func (s *signer) key() (*identity.KeyPair, error) {
	pass, err := cli.Passphrase(s.passFile)
	if err != nil {
		return nil, err
	}
	return identity.ReadKeyFile(s.keyFile, pass)
}

func tokenIssueCommand(a *cli.App) *cobra.Command {
	var by signer
	var to, scope, channel string
	var ttl time.Duration
	var depth uint8
	var generation uint64
	c := &cobra.Command{Use: "issue", Short: "Make a token as a root of a channel", Example: `  wasmhost token issue --identity root.key --subject daemon.key --channel ticks --scope subscribe > ticks.token
  wasmhost token issue --identity root.key --subject $NODE_KEY --channel sensors --scope publish,wildcard --ttl 720h`,
		Args: cli.Exact(0), RunE: func(*cobra.Command, []string) error {
			req := identity.TokenRequest{Channel: channel, TTL: ttl, Depth: depth, Generation: generation}
			var err error
			if req.Scope, err = identity.ParseScope(scope); err != nil {
				return cli.Usagef("%v", err)
			}
			if req.Subject, err = cli.Subject(to); err != nil {
				return err
			}

			key, err := by.key()
			if err != nil {
				return err
			}

			t, err := identity.IssueToken(key, req, time.Now())
			if err != nil {
				return err
			}
			return printToken(a, t)
		}}

	by.flags(c, "key file of the issuer, which is to be a root of the channel")
	c.Flags().StringVar(&to, "subject", "", "whom the token is for: a daemon's or node's entity id, or its key file")
	c.Flags().StringVar(&scope, "scope", "subscribe", scopeHelp)
	c.Flags().StringVar(&channel, "channel", "", "the channel; with wildcard those beneath it too, and all if it is empty")
	c.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "for how long it is good, at most 8760h")
	c.Flags().Uint8Var(&depth, "depth", 0, "how often it can be delegated on; needs the scope delegate")
	c.Flags().Uint64Var(&generation, "generation", 0, "its generation: a revocation is of all below one")
	return c
}

func tokenDelegateCommand(a *cli.App) *cobra.Command {
	var by signer
	var to, scope, channel string
	c := &cobra.Command{Use: "delegate FILE", Short: "Pass on what a token permits, or less; - reads it from standard input", Long: `Pass on what a token permits, or less. The new token names the whole chain: who
takes it checks each link. It expires with the one that it was made of.`,
		Example: "  wasmhost token delegate mine.token --identity me.key --subject daemon.key --scope subscribe > theirs.token",
		Args:    cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
			chain, err := a.ReadToken(args[0])
			if err != nil {
				return err
			}

			req := identity.DelegateRequest{Channel: channel}
			if scope != "" {
				if req.Scope, err = identity.ParseScope(scope); err != nil {
					return cli.Usagef("%v", err)
				}
			}

			if req.Subject, err = cli.Subject(to); err != nil {
				return err
			}

			key, err := by.key()
			if err != nil {
				return err
			}

			t, err := chain.Delegate(key, req, time.Now())
			if err != nil {
				return err
			}
			return printToken(a, t)
		}}

	by.flags(c, "key file of the token's subject")
	c.Flags().StringVar(&to, "subject", "", "whom the new token is for: an entity id, or a key file")
	c.Flags().StringVar(&scope, "scope", "", scopeHelp+"; default: as before")
	c.Flags().StringVar(&channel, "channel", "", "a channel within the token's; default: the token's")
	return c
}

func tokenRevokeCommand(a *cli.App) *cobra.Command {
	var by signer
	var below uint64
	var offline bool
	var given string
	c := &cobra.Command{Use: "revoke", Short: "Revoke an issuer's tokens of early generations", Long: `Revoke all tokens that an issuer made of generations below one, and what was
delegated from them. The node, and every node that it reaches, then ends the
subscriptions that rest on them. Tokens are issued again with --generation.

The printed revocation is the issuer's signed word: with --offline it is only
printed, and another node takes it with --from FILE.`, Example: `  wasmhost token revoke --identity root.key --below 1
  wasmhost token revoke --from root.revocation`, Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) error {
		text := ""
		if given != "" {
			if by.keyFile != "" || below > 0 || offline {
				return cli.Usagef("--from takes a revocation as it is")
			}
			var err error
			if text, err = a.ReadText(given); err != nil {
				return err
			}
		} else {
			if by.keyFile == "" || below == 0 {
				return cli.Usagef("give --identity FILE and --below GENERATION, or --from FILE")
			}

			key, err := by.key()
			if err != nil {
				return err
			}

			rev, err := identity.Revoke(key, below)
			if err != nil {
				return err
			}
			if text, err = rev.Text(); err != nil {
				return err
			}
		}

		rev, err := identity.ParseRevocationText(text)
		if err != nil {
			return err
		}

		out := api.Revocation{Issuer: rev.Issuer.String(), Floor: rev.Floor, Revocation: text}
		if !offline {
			if out, err = a.Client().Channels().Revoke(c.Context(), text); err != nil {
				return err
			}
		}

		return a.Print(out, func(w io.Writer) { fmt.Fprintln(w, out.Revocation) }, func() string { return out.Revocation })
	}}

	c.Flags().StringVar(&by.keyFile, "identity", "", "key file of the issuer")
	c.Flags().StringVar(&by.passFile, "passphrase-file", "", "file with the key file's passphrase")
	c.Flags().Uint64Var(&below, "below", 0, "the first generation that stays good")
	c.Flags().BoolVar(&offline, "offline", false, "print the revocation only")
	c.Flags().StringVar(&given, "from", "", "file with a revocation that was printed before; - is standard input")
	return c
}

func tokenInspectCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "inspect FILE", Short: "Show what a token says; - reads it from standard input", Long: `Show what a token says. That it is good for a channel only the channel's node can
say, for it knows the roots and what was revoked.`, Example: "  wasmhost token inspect ticks.token -o json", Args: cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
		t, err := a.ReadToken(args[0])
		if err != nil {
			return err
		}

		return a.Print(tokenInfo(t), func(w io.Writer) {
			fmt.Fprintln(w, "ISSUER\tSUBJECT\tSCOPE\tCHANNEL\tDEPTH\tGENERATION\tEXPIRES")
			for _, l := range t.Links {
				fmt.Fprintf(w, "%.16s\t%.16s\t%s\t%s\t%d\t%d\t%s\n", l.Issuer, l.Subject, l.Scope, l.Channel, l.Depth, l.Generation, time.Unix(l.NotAfter, 0).UTC().Format(time.RFC3339))
			}
		}, t.Leaf().Subject.String)
	}}
}

// tokenLink is one link of a token as JSON.
type tokenLink struct {
	Issuer     string    `json:"issuer"`
	Subject    string    `json:"subject"`
	Scope      string    `json:"scope"`
	Channel    string    `json:"channel"`
	Depth      uint8     `json:"depth"`
	Generation uint64    `json:"generation"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
}

func tokenInfo(t *identity.TokenChain) map[string]any {
	links := []tokenLink{}
	for _, l := range t.Links {
		links = append(links, tokenLink{l.Issuer.String(), l.Subject.String(), l.Scope.String(), l.Channel, l.Depth, l.Generation,
			time.Unix(l.NotBefore, 0).UTC(), time.Unix(l.NotAfter, 0).UTC()})
	}
	return map[string]any{"subject": t.Leaf().Subject.String(), "expired": t.Leaf().Expired(time.Now()), "links": links}
}

func printToken(a *cli.App, t *identity.TokenChain) error {
	text, err := t.Text()
	if err != nil {
		return err
	}
	info := tokenInfo(t)
	info["token"] = text
	return a.Print(info, func(w io.Writer) { fmt.Fprintln(w, text) }, func() string { return text })
}
