package daemons

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/chain"
)

func proveCommand(a *cli.App) *cobra.Command {
	var out, verify string
	c := &cobra.Command{
		Use:   "prove FILE1 FILE2 [--out PROOF] | --verify PROOF",
		Short: "Prove that a daemon's key has signed two histories, with no node running",
		Long: `Look in two exported chains of one daemon for two statements under its signature
that cannot both be true: other links at one epoch and sequence, or two hand-overs
into one epoch. Such a thing comes of a key, or a data directory, that was copied
and used twice. The proof needs neither chain nor node: whoever has it can check it
with --verify, and have a node refuse the identity with "chain accuse".

Exit code 10 where a chain does not hold, the chains do not contradict each other, or
a proof does not prove anything.`,
		Example: `  wasmhost chain prove one.chain two.chain --out c1.proof
  wasmhost chain prove --verify c1.proof`,
		Args: cli.Between(0, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case verify != "" && len(args) == 0 && out == "":
				return verifyProof(a, verify)
			case verify != "" || len(args) != 2:
				return cli.Usagef("give two chain files, or --verify PROOF")
			}
			proof, err := proveFiles(args[0], args[1])
			if err != nil {
				return err
			}
			if out != "" {
				var b bytes.Buffer
				if _, err := proof.WriteTo(&b); err != nil {
					return err
				}
				if err := a.WriteTo(out, &b); err != nil || out == "-" {
					return err
				}
			}
			return showProof(a, proof)
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write the proof to; - is standard output")
	c.Flags().StringVar(&verify, "verify", "", "check the proof in this file; - is standard input")
	return c
}

func proveFiles(one, two string) (*chain.Equivocation, error) {
	x, err := os.Open(one)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	y, err := os.Open(two)
	if err != nil {
		return nil, err
	}
	defer y.Close()
	return chain.ProveEquivocation(x, y)
}

func verifyProof(a *cli.App, path string) error {
	in, err := a.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	proof, err := chain.ReadEquivocation(in)
	if err != nil {
		return err
	}
	return showProof(a, proof)
}

// showProof verifies the proof and says what it proves.
func showProof(a *cli.App, proof *chain.Equivocation) error {
	c, err := proof.Verify()
	if err != nil {
		return err
	}
	shown := convert.ConflictOf(c)
	return a.Print(shown, func(w io.Writer) { fmt.Fprintln(w, conflictText(shown)) }, func() string { return shown.Origin })
}

func conflictText(c api.Conflict) string {
	if c.Handover {
		return fmt.Sprintf("equivocation proven: daemon %s was handed over twice into epoch %d", c.Origin, c.Epoch)
	}
	return fmt.Sprintf("equivocation proven: daemon %s has signed two histories, which differ at epoch %d, sequence %d:\n%s\n%s",
		c.Origin, c.Epoch, c.Sequence, c.Hashes[0], c.Hashes[1])
}

func accuseCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "accuse PROOF", Short: "Have the node refuse an identity, for a proof against it",
		Long: `Put a proof on record: from now on the node refuses to spawn, restore, take or serve
the daemon, until it is pardoned. - reads the proof from standard input. Nodes find
such proofs themselves, where what comes in a daemon's name contradicts its last
word there.`,
		Example: "  wasmhost chain accuse c1.proof", Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := a.Open(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			acc, err := a.Client().Proofs().Accuse(c.Context(), in)
			if err != nil {
				return err
			}
			return a.Print(acc, func(w io.Writer) { fmt.Fprintf(w, "%s\nthe node refuses the identity\n", conflictText(acc.Conflict)) }, func() string { return acc.Origin })
		},
	}
}

func accusedCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "accused", Short: "List the proofs of equivocation on record at the node", Example: "  wasmhost chain accused -o json", Args: cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := a.Client().Proofs().List(c.Context())
			if err != nil {
				return err
			}
			return cli.PrintList(a, all, "ORIGIN\tEPOCH\tSEQUENCE\tRECORDED\tBY\tSTATE", func(x api.Accusation) string {
				by, state := "an operator", "refused"
				if x.Found {
					by = "this node"
				}
				if x.Pardoned != nil {
					state = "pardoned"
				}
				return fmt.Sprintf("%s\t%d\t%d\t%s\t%s\t%s", x.Origin, x.Epoch, x.Sequence, x.Recorded.Format("2006-01-02 15:04:05Z07:00"), by, state)
			}, func(x api.Accusation) string { return x.Origin })
		},
	}
}

func proofCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "proof DAEMON [FILE]", Short: "Write the proof on record against a daemon to a file, or to standard output",
		Example: "  wasmhost chain proof c1 c1.proof", Args: cli.Between(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			body, err := a.Client().Looking().Proofs().Get(c.Context(), args[0])
			if err != nil {
				return err
			}
			defer body.Close()
			to := "-"
			if len(args) == 2 {
				to = args[1]
			}
			return a.WriteTo(to, body)
		},
	}
}

func pardonCommand(a *cli.App) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "pardon DAEMON", Short: "Let the node use an identity again, in spite of a proof against it",
		Long: `Let the node use an identity again. Do so once it is certain which history counts
and the other is stopped: the node serves whichever comes. What it finds later counts
again only where it is of a higher epoch than is known now.`,
		Example: "  wasmhost chain pardon c1 --yes", Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.Confirm(yes, "use the identity of "+args[0]+" again, whose key has signed two histories"); err != nil {
				return err
			}
			acc, err := a.Client().Proofs().Pardon(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.Print(acc, func(w io.Writer) { fmt.Fprintf(w, "%s is pardoned\n", acc.Origin) }, func() string { return acc.Origin })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}
