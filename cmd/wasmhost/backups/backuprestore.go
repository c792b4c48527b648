package backups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host"
	"wasmhost.example/host/backup"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/node"
)

// restoreOptions are those of backup restore.
type restoreOptions struct {
	placeOptions
	data, id, passFile, keyFile, nodePassFile string
}

func backupRestoreCommand(a *cli.App) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore PLACE --data DIR",
		Short: "Make a data directory of a backup",
		Long: `Make a data directory of a backup, the last one of the place unless --backup names
another, on this machine or a new one. DIR must not be there, or be empty; what is made
is whole or not there. Every file is compared with its checksum.

The node is the same one, by its key, in a new incarnation. Started with "wasmhost serve
--data DIR" it holds its daemons: a backup is old, and the node itself or another may
have gone further since. It serves each once you say so ("backup confirm"), or gives it up
for the node that has more ("backup give-way"); "backup pending" lists them. That no other
node answers confirms nothing. Make sure that the old node is gone before you confirm.

The node's part in a cluster's directory is not in a backup: start the node with --cluster
--join TOKEN.

` + placeHelp,
		Example: `  wasmhost backup restore /mnt/backups/ --data data --passphrase-file pass
  wasmhost backup restore a.backup --data data --identity recipient.key`,
		Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.data == "" {
				return cli.Usagef("give --data DIR: the directory that is to be made")
			}

			from, err := o.open(args[0], false)
			if err != nil {
				return err
			}

			defer func() { err = errors.Join(err, from.Close()) }()
			m, err := backup.Read(c.Context(), from, o.id)
			if err != nil {
				return err
			}

			out, err := restoreFrom(a, c.Context(), from, m, &o)
			if err != nil {
				return err
			}

			return a.Print(out, func(w io.Writer) {
				fmt.Fprintf(w, "backup %s of node %s is in %s, incarnation %d: %d files, %s\n", m.ID, nameOr(m.NodeName, m.NodeID), o.data, out.Incarnation, len(m.Files), cli.Size(m.Size()))
				fmt.Fprintf(w, "%d daemons will be held until each is confirmed: wasmhost serve --data %s, then wasmhost backup pending\n", out.Held, o.data)
			}, func() string { return o.data })
		},
	}

	o.declare(c)
	c.Flags().StringVar(&o.data, "data", "", "the data directory to make")
	c.Flags().StringVar(&o.id, "backup", "", "the backup; default: the last")
	c.Flags().StringVar(&o.passFile, "passphrase-file", "", "file with the passphrase of the backup, or of the --identity file")
	c.Flags().StringVar(&o.keyFile, "identity", "", "key file of the recipient that the backup is sealed for")
	c.Flags().StringVar(&o.nodePassFile, "node-passphrase-file", "", "file with the passphrase that is to protect the node's key file; default: none")
	return c
}

// restoredTo is what restore prints.
type restoredTo struct {
	Backup      string `json:"backup"`
	NodeID      string `json:"node_id"`
	Data        string `json:"data"`
	Incarnation uint64 `json:"incarnation"`
	Files       int    `json:"files"`
	Bytes       int64  `json:"bytes"`
	Held        int    `json:"held"` // daemons
}

// restoreFrom makes the data directory beside its place first: it is there whole or not.
func restoreFrom(a *cli.App, ctx context.Context, from backup.Objects, m *backup.Manifest, o *restoreOptions) (out restoredTo, err error) {
	if entries, err := os.ReadDir(o.data); err == nil && len(entries) > 0 {
		return out, fmt.Errorf("%w: %s is not empty", backup.ErrExists, o.data)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, fmt.Errorf("restoring: %w", err)
	}

	key, err := o.nodeKey(m)
	if err != nil {
		return out, err
	}

	defer key.Wipe()
	nodePass, err := cli.Passphrase(o.nodePassFile)
	if err != nil {
		return out, err
	}

	cli.PrivateFiles()
	dir := filepath.Clean(o.data) + ".restoring-" + m.ID
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.RemoveAll(dir); err != nil { // what an interrupted restoration left
		return out, fmt.Errorf("restoring: %w", err)
	}

	show := &backupShower{App: a}
	err = backup.Restore(ctx, from, m, dir, show.step)
	show.clear()
	if err != nil {
		return out, err
	}
	if err := identity.WriteKeyFile(node.KeyFile(dir), key, nodePass); err != nil {
		return out, err
	}

	in := host.Incarnation{Number: m.Incarnation + 1, Backup: m.ID, Taken: m.Created, Restored: time.Now(), Addr: m.Addr}
	held, err := markRestored(dir, in)
	if err != nil {
		return out, err
	}
	if err := os.Rename(dir, o.data); err != nil {
		return out, fmt.Errorf("restoring: %w", err)
	}

	return restoredTo{Backup: m.ID, NodeID: m.NodeID, Data: o.data, Incarnation: in.Number, Files: len(m.Files), Bytes: m.Size(), Held: held}, nil
}

func markRestored(dir string, in host.Incarnation) (held int, err error) {
	s, err := store.Open(store.Options{Dir: dir, Reserve: -1})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return host.MarkRestored(s, in)
}

// nodeKey opens the node's key in the backup.
func (o *restoreOptions) nodeKey(m *backup.Manifest) (*identity.KeyPair, error) {
	pass, err := cli.Passphrase(o.passFile)
	if err != nil {
		return nil, err
	}

	var recipient *identity.KeyPair
	switch {
	case o.keyFile != "":
		recipient, err = identity.ReadKeyFile(o.keyFile, pass)
	case m.Key.Holder == "":
		return nil, cli.Usagef("the backup is sealed for a recipient, %s: give --identity FILE with that key", m.Key.Recipient)
	default:
		recipient, err = identity.DecodeKey([]byte(m.Key.Holder), pass)
	}

	if err != nil {
		return nil, err
	}

	defer recipient.Wipe()
	return m.OpenKey(recipient)
}

func backupPendingCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "pending", Short: "List the daemons that a restored node holds, and why",
		Long: `List the daemons that the node holds, with the reason of each, and say whether
the node itself, whose channels are held too, is confirmed.`,
		Example: "  wasmhost backup pending -o json", Args: cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			in, err := a.Client().Node().Incarnation(c.Context())
			if err != nil {
				return err
			}

			held, err := a.Client().Node().Held(c.Context())
			if err != nil {
				return err
			}
			if !in.Confirmed {
				fmt.Fprintln(a.Err, incarnationText(in))
			}

			return cli.PrintList(a, held, "NAME\tORIGIN\tHELD FOR\tWHY", func(h api.Held) string {
				return fmt.Sprintf("%s\t%s\t%s\t%s", h.Name, h.Origin, h.Code, cli.OneLine(h.Why))
			}, func(h api.Held) string { return nameOr(h.Name, h.EntityID) })
		},
	}
}

func backupConfirmCommand(a *cli.App) *cobra.Command {
	var all, yes bool
	c := &cobra.Command{
		Use: "confirm DAEMON | --all", Short: "Let held daemons of a restored node serve",
		Long: `Let a daemon that a restored node holds go on from where the backup has it, under a
higher epoch, which its chain says. What another copy of it did after the backup is lost.
It is refused while a node that answers has gone further: see "backup pending".

With --all every daemon is confirmed that can be, and then the node with its channels.
Exit code 12, with the reasons, where some could not be.`,
		Example: `  wasmhost backup confirm c1 --yes
  wasmhost backup confirm --all --yes`,
		Args: cli.Between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			what := "let what this node has from the backup go on, and lose what any other copy has beyond it"
			return decideEach(a, c, args, all, yes, what, a.Client().Daemons().Confirm, func(ctx context.Context) error {
				_, err := a.Client().Node().Confirm(ctx)
				return err
			})
		},
	}

	c.Flags().BoolVar(&all, "all", false, "every held daemon, and the node with its channels")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func backupGiveWayCommand(a *cli.App) *cobra.Command {
	var all, yes bool
	c := &cobra.Command{
		Use: "give-way DAEMON | --all", Short: "Give held daemons up for the node that has more",
		Long: `Give a daemon that a restored node holds up for the copy that has gone further, which
"backup pending" names: the other goes on, this node owns the daemon no more, and keeps the
history of its copy as evidence. It is refused where no node is known to have more.`,
		Example: "  wasmhost backup give-way c1 --yes", Args: cli.Between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return decideEach(a, c, args, all, yes, "give up what this node has from the backup for the copies that have more", a.Client().Daemons().Yield, nil)
		},
	}

	c.Flags().BoolVar(&all, "all", false, "every held daemon")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// errUndecided says that some daemons stay held.
var errUndecided = errors.New("some daemons stay held")

// decideEach decides about one held daemon, or all, and then does last.
func decideEach(a *cli.App, c *cobra.Command, args []string, all, yes bool, what string, decide func(context.Context, string) (api.Mended, error), last func(context.Context) error) error {
	if (len(args) == 1) == all {
		return cli.Usagef("give either DAEMON or --all")
	}

	held, err := a.Client().Node().Held(c.Context())
	if err != nil {
		return err
	}

	refs := args
	for _, h := range held {
		if all && (h.Code == daemon.HoldUnconfirmed.String() || last == nil && h.NodeID != "") { // what another node proved is given up, never confirmed together
			refs = append(refs, h.EntityID)
		}
		if all || h.Name == args[0] || h.Origin == args[0] || h.EntityID == args[0] {
			fmt.Fprintf(a.Err, "daemon %s is held (%s): %s\n", nameOr(h.Name, h.Origin), h.Code, cli.OneLine(h.Why))
		}
	}

	if err := a.Confirm(yes, what); err != nil {
		return err
	}

	done := []api.Mended{}
	var failed error
	for _, ref := range refs {
		m, err := decide(c.Context(), ref)
		if err != nil && !all {
			return err
		}
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}

		done = append(done, m)
	}

	if all && failed == nil && last != nil {
		failed = last(c.Context())
	}

	if err := cli.PrintList(a, done, "SEQUENCE\tEPOCH\tHOW", func(m api.Mended) string { return fmt.Sprintf("%d\t%d\t%s", m.After, m.Epoch, m.How) }, func(m api.Mended) string { return m.How }); err != nil {
		return err
	}
	if failed != nil {
		return cli.ExitWith(api.ExitIncomplete, fmt.Errorf("%w: %w", errUndecided, failed))
	}

	return nil
}

func incarnationText(in api.Incarnation) string {
	return fmt.Sprintf("the node was restored from backup %s of %s (incarnation %d) and is not confirmed: its channels are held", in.Backup, in.Taken.Format(time.RFC3339), in.Number)
}
