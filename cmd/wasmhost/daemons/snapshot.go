package daemons

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/snapshot"
)

// Snapshot is the command snapshot.
func Snapshot(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "snapshot", Short: "Save and restore snapshots: a daemon's state in a file"}
	save := &cobra.Command{Use: "save DAEMON FILE", Short: "Write a daemon's snapshot; - is standard output", Example: "  wasmhost snapshot save c1 c1.snap", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		body, err := a.Client().Daemons().Snapshot(c.Context(), args[0])
		if err != nil {
			return err
		}
		defer body.Close()
		return a.WriteTo(args[1], body)
	}}
	inspect := &cobra.Command{Use: "inspect FILE", Short: "Show what a snapshot is of", Example: "  wasmhost snapshot inspect c1.snap -o json", Args: cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
		s, size, err := readSnapshot(a, args[0])
		if err != nil {
			return err
		}
		return printSnapshot(a, s, size)
	}}
	verify := &cobra.Command{Use: "verify FILE", Short: "Check a snapshot's hashes and signature, with no node running", Example: "  wasmhost snapshot verify c1.snap", Args: cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
		s, size, err := readSnapshot(a, args[0])
		if err == nil {
			err = s.Verify()
		}
		if err != nil {
			return err
		}
		return printSnapshot(a, s, size)
	}}
	var kind, name, keyFile, passFile string
	var unsigned bool
	restore := &cobra.Command{
		Use: "restore FILE", Short: "Make the daemon that a snapshot is of",
		Long: `Make the daemon that a snapshot is of. Its identity is opened from the snapshot on
the node that took it; anywhere else it is given by --identity. A daemon that runs, here or on a node that
this one trusts and reaches, is not made a second time.

The snapshot must be signed by the daemon. One that was taken where the daemon had no
private key is not: --unsigned takes it, on your word for what is in it.`,
		Example: `  wasmhost snapshot restore c1.snap
  wasmhost snapshot restore c1.snap --name c1-again --identity me.key`,
		Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
			seed, err := cli.SeedOf(keyFile, passFile)
			if err != nil {
				return err
			}
			f, err := a.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			restore := a.Client().Daemons().Restore
			if unsigned {
				restore = a.Client().Daemons().RestoreUnsigned
			}
			d, err := restore(c.Context(), f, kind, name, seed)
			if err != nil {
				return err
			}
			return printDaemon(a, d)
		}}
	restore.Flags().StringVar(&kind, "kind", "", "the kind; default: the snapshot's")
	restore.Flags().StringVar(&name, "name", "", "the name; default: the snapshot's")
	restore.Flags().StringVar(&keyFile, "identity", "", "key file of the daemon's identity")
	restore.Flags().StringVar(&passFile, "passphrase-file", "", "file with the key file's passphrase")
	restore.Flags().BoolVar(&unsigned, "unsigned", false, "take a snapshot that the daemon has not signed")
	c.AddCommand(save, inspect, verify, restore)
	return c
}

// readSnapshot returns a snapshot without its state, and how many bytes that
// has: a file can be larger than memory.
func readSnapshot(a *cli.App, path string) (*snapshot.Snapshot, int64, error) {
	f, err := a.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	return snapshot.Inspect(f)
}

func printSnapshot(a *cli.App, s *snapshot.Snapshot, state int64) error {
	v := convert.SnapshotOf(s)
	v.State = int(state)
	return a.Print(v, func(w io.Writer) {
		fmt.Fprintf(w, "name\t%s\norigin\t%s\nentity id\t%s\nkind\t%s\nmodule\t%s\nepoch\t%d\nsequence\t%d\nevents\t%d\nhead\t%s\nstate\t%s\nsigned\t%v\ncreated\t%s\nspawned\t%s\nprevious module\t%s\n",
			cli.OneLine(v.Name), v.Origin, v.EntityID, cli.OneLine(v.Kind), v.Module, v.Epoch, v.Through, v.Applied, v.Head, cli.Size(int64(v.State)), v.Signed, v.Created.Format("2006-01-02 15:04:05Z07:00"), spawnedText(v), cmp.Or(v.Previous, "-"))
	}, func() string { return v.Origin })
}

// spawnedText is when the snapshot's daemon was made.
func spawnedText(v api.Snapshot) string {
	if v.Spawned.IsZero() {
		return "not said"
	}
	return v.Spawned.Format("2006-01-02 15:04:05Z07:00")
}

// Chain is the command chain.
func Chain(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "chain", Short: "Verify and export output chains"}
	export := &cobra.Command{Use: "export DAEMON [FILE]", Short: "Write a daemon's chain to a file, or to standard output", Example: `  wasmhost chain export c1 > c1.chain
  wasmhost chain export c1 c1.chain`, Args: cli.Between(1, 2), RunE: func(c *cobra.Command, args []string) error {
		body, err := a.Client().Daemons().Chain(c.Context(), args[0])
		if err != nil {
			return err
		}
		defer body.Close()
		to := "-"
		if len(args) == 2 {
			to = args[1]
		}
		return a.WriteTo(to, body)
	}}
	var parent string
	verify := &cobra.Command{Use: "verify FILE", Short: "Prove a chain file, with no node running; - is standard input", Long: `Check every hash and signature of an exported chain. With --parent check a fork
against its parent's exported chain too: that the parent had come to that output, at
that epoch, with that hash, code and count of events. Exit code 10 where anything
differs.`, Example: `  wasmhost chain verify c1.chain
  wasmhost chain verify fork.chain --parent c1.chain`, Args: cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
		return verifyChain(a, args[0], parent)
	}}
	verify.Flags().StringVar(&parent, "parent", "", "file with the exported chain of the daemon that this one is a fork of")
	show := &cobra.Command{Use: "show DAEMON", Short: "Print a daemon's chain, proven on the way", Example: `  wasmhost chain show c1
  wasmhost chain show c1 -o jsonl`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		body, err := a.Client().Looking().Daemons().Chain(c.Context(), args[0])
		if err != nil {
			return err
		}
		defer body.Close()
		out := bufio.NewWriterSize(a.Out, 64<<10)
		s := &chainShower{out: out, format: a.Format}
		if _, err = chain.Walk(body, s.show); err == nil {
			err = s.end()
		}
		return errors.Join(err, out.Flush())
	}}
	c.AddCommand(show, export, verify, proveCommand(a), accuseCommand(a), accusedCommand(a), proofCommand(a), pardonCommand(a))
	return c
}

// chainShower prints the items of a chain. As JSON it prints the outputs: moves
// and signatures are in the answer of chain verify.
type chainShower struct {
	out    io.Writer
	format string
	shown  int // outputs
}

func (s *chainShower) show(i chain.Item) error {
	var err error
	switch {
	case i.Output != nil && s.format == "json":
		sep := ","
		if s.shown == 0 {
			sep = "["
		}
		_, err = io.WriteString(s.out, sep)
		fallthrough
	case i.Output != nil && s.format == "jsonl":
		s.shown++
		if err == nil {
			err = json.NewEncoder(s.out).Encode(convert.OutputOf(*i.Output))
		}
	case i.Output != nil && s.format == "name":
		_, err = fmt.Fprintln(s.out, i.Output.Link.Sequence)
	case i.Output != nil:
		l := i.Output.Link
		_, err = fmt.Fprintf(s.out, "%8d  epoch %d  %x  %.120q\n", l.Sequence, l.Epoch, l.Parent[:6], i.Output.Payload)
	case i.Move != nil && s.format == "table":
		_, err = fmt.Fprintf(s.out, "          moved from %s to %s: epoch %d\n", i.Move.From, i.Move.To, i.Move.Epoch)
	case i.Mended != nil && s.format == "table":
		_, err = fmt.Fprintf(s.out, "          %s\n", mendedText(convert.MendedOf(*i.Mended)))
	case i.Checkpoint != nil && s.format == "table":
		_, err = fmt.Fprintf(s.out, "          signed through %d\n", i.Checkpoint.Sequence)
	}
	return err
}

func (s *chainShower) end() error {
	if s.format != "json" {
		return nil
	}
	text := "]\n"
	if s.shown == 0 {
		text = "[]\n"
	}
	_, err := io.WriteString(s.out, text)
	return err
}

// verifyChain proves a chain file, and with a parent that it is a fork of that.
func verifyChain(a *cli.App, path, parent string) error {
	in, err := a.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	var r chain.Report
	if parent == "" {
		r, err = chain.Verify(in)
	} else {
		var of io.ReadCloser
		if of, err = a.Open(parent); err != nil {
			return err
		}
		defer of.Close()
		r, _, err = chain.VerifyFork(in, of)
	}
	if err != nil {
		return err
	}
	type move struct {
		From  string `json:"from"`
		To    string `json:"to"`
		Epoch uint64 `json:"epoch"`
		After uint64 `json:"after_sequence"`
	}
	mended := []api.Mended{}
	for _, m := range r.Mended {
		mended = append(mended, convert.MendedOf(m))
	}
	moves := []move{}
	for _, m := range r.Moves {
		moves = append(moves, move{m.From.String(), m.To.String(), m.Epoch, m.After})
	}
	type fork struct {
		*api.ForkOf
		Checked bool `json:"checked"` // against the parent's chain
	}
	var began *fork
	if r.Fork != nil {
		began = &fork{convert.ForkOfRecord(r.Fork), parent != ""}
	}
	return a.Print(map[string]any{"ok": true, "fork": began, "origin": r.Entity.Origin().String(), "entity_id": r.Entity.String(), "kind": r.Kind,
		"outputs": r.Outputs, "first": r.First, "last": r.Last, "epoch": r.Epoch, "moves": moves, "mended": mended, "signatures": r.Checkpoints, "head": r.Head.String()},
		func(w io.Writer) {
			fmt.Fprintf(w, "chain of %s holds: %d outputs (%d to %d), %d signatures, %d moves, epoch %d\nhead %s\n",
				r.Entity.Origin(), r.Outputs, r.First, r.Last, r.Checkpoints, len(r.Moves), r.Epoch, r.Head)
			if f := r.Fork; f != nil {
				how := "which signed it; its chain was not given: --parent FILE"
				if parent != "" {
					how = "whose chain holds, and stood there"
				}
				fmt.Fprintf(w, "fork of %s, after output %d, epoch %d, %d events, %s\n", f.Parent.Origin(), f.Sequence, f.Epoch, f.Applied, how)
			}
		}, func() string { return r.Head.String() })
}
