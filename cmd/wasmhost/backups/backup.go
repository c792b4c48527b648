// Package backups has the verb backup: create, ls, verify, restore and what follows one.
package backups

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/backup"
	"wasmhost.example/identity"
)

const placeHelp = `PLACE is a directory, which backups share; a file, with one backup; or
s3://BUCKET/PREFIX in a store that speaks S3, with the credentials of AWS's tools
(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials) and the store's
address by --s3-endpoint (AWS_ENDPOINT_URL).`

// Backup is the command backup.
func Backup(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "backup", Short: "Back up a node, and restore it",
		Long: `Back up a node while it works, and restore it on another machine. See docs/backup.md.`}
	c.AddCommand(backupCreateCommand(a), backupLsCommand(a), backupVerifyCommand(a), backupRestoreCommand(a), backupPendingCommand(a), backupConfirmCommand(a), backupGiveWayCommand(a))
	return c
}

func backupCreateCommand(a *cli.App) *cobra.Command {
	var at placeOptions
	var passFile, recipient string
	c := &cobra.Command{
		Use:   "create PLACE",
		Short: "Back up a node while it works",
		Long: `Back up the data directory of a running node, as it is at one moment: all that was
acknowledged before the command is in it. Senders do not wait.

` + placeHelp + `
End the name of a new directory with a slash; a new name without is a file. In a
directory or a bucket, what an earlier backup has is not stored again.

The node's key is sealed: to the passphrase of --passphrase-file, or to --recipient, the
seal key that "wasmhost identity show FILE" prints of a key file which is kept elsewhere. The
keys of its daemons are sealed by the node's key. Without the passphrase, or the
recipient's key file, a backup cannot be restored by anyone.

A backup is whole or not there. With -o jsonl there is a line for each step.`,
		Example: `  wasmhost backup create /mnt/backups/ --passphrase-file pass
  wasmhost backup create a.backup --recipient 5f0c…64 digits…1e
  wasmhost backup create s3://backups/node-a --passphrase-file pass --s3-endpoint https://s3.example.org`,
		Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			req, err := sealFor(passFile, recipient)
			if err != nil {
				return err
			}

			to, err := at.open(args[0], true)
			if err != nil {
				return err
			}

			defer func() { err = errors.Join(err, to.Close()) }()
			began := time.Now()
			m, fresh, err := makeBackup(a, c.Context(), to, req)
			if err != nil {
				return err
			}

			if file, ok := to.(*backup.Archive); ok {
				if err := file.Close(); err != nil {
					return err
				}
				to = noClose{to}
			}

			out := madeBackup{summaryOf(m), fresh, time.Since(began).Milliseconds()}
			return a.Print(out, func(w io.Writer) {
				fmt.Fprintf(w, "backup %s of node %s: %d files, %s, of which %s are new, in %s\n", m.ID, nameOr(m.NodeName, m.NodeID), len(m.Files), cli.Size(m.Size()), cli.Size(fresh), cli.Millis(float64(out.MS)))
			}, func() string { return m.ID })
		},
	}

	at.declare(c)
	c.Flags().StringVar(&passFile, "passphrase-file", "", "file with the passphrase that the backup is sealed to")
	c.Flags().StringVar(&recipient, "recipient", "", "seal key of the key file that the backup is sealed for")
	return c
}

// madeBackup is what create prints.
type madeBackup struct {
	backupSummary
	Fresh int64 `json:"new_bytes"`
	MS    int64 `json:"ms"`
}

// noClose is a place that is closed already.
type noClose struct{ backup.Objects }

func (noClose) Close() error { return nil }

// sealFor says for whom the node is to seal its key: for a recipient, or for a key of
// which the backup carries the file, under the passphrase.
func sealFor(passFile, recipient string) (req api.Backup, err error) {
	if (passFile == "") == (recipient == "") {
		return req, cli.Usagef("give either --passphrase-file FILE or --recipient SEALKEY: a backup holds the node's key")
	}
	if recipient != "" {
		if b, err := hex.DecodeString(recipient); err != nil || len(b) != len(identity.SealKey{}) {
			return req, cli.Usagef("--recipient %q is no seal key: 64 hexadecimal digits, as wasmhost identity show prints", recipient)
		}
		req.Recipient = recipient
		return req, nil
	}

	pass, err := cli.Passphrase(passFile)
	if err != nil {
		return req, err
	}

	holder, err := identity.Generate()
	if err != nil {
		return req, err
	}

	defer holder.Wipe()
	seal, err := holder.SealKey()
	if err != nil {
		return req, err
	}

	file, err := identity.EncodeKey(holder, pass)
	if err != nil {
		return req, err
	}

	req.Recipient, req.Holder = hex.EncodeToString(seal[:]), string(file)
	return req, nil
}

// makeBackup asks the node for a backup and stores what the place lacks of it. It
// returns how many bytes these were.
func makeBackup(a *cli.App, ctx context.Context, to backup.Objects, req api.Backup) (m *backup.Manifest, fresh int64, err error) {
	if req.Parent, err = backup.Last(ctx, to); err != nil {
		return nil, 0, err
	}

	err = backup.Digests(ctx, to, func(digest string) {
		if len(req.Have) < api.MaxHave {
			req.Have = append(req.Have, digest)
		}
	})
	if err != nil {
		return nil, 0, err
	}

	stream, err := a.Client().Node().Backup(ctx, req)
	if err != nil {
		return nil, 0, err
	}

	defer stream.Close()
	show := &backupShower{App: a}
	defer show.clear()
	m, err = backup.Create(ctx, to, stream, func(p backup.Progress) {
		fresh = p.Fresh
		show.step(p)
	})

	return m, fresh, err
}

func backupLsCommand(a *cli.App) *cobra.Command {
	var at placeOptions
	c := &cobra.Command{
		Use: "ls PLACE", Short: "List the backups of a place, the oldest first",
		Long: `List the backups of a place, the oldest first. One whose manifest cannot be read is
listed with the reason, and makes the exit code 10.

` + placeHelp,
		Example: "  wasmhost backup ls /mnt/backups/", Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			from, err := at.open(args[0], false)
			if err != nil {
				return err
			}

			defer func() { err = errors.Join(err, from.Close()) }()
			list, err := backup.List(c.Context(), from)
			if err != nil {
				return err
			}

			out := make([]backupSummary, 0, len(list))
			var bad error
			for _, l := range list {
				if l.Err != nil {
					bad = errors.Join(bad, l.Err)
					out = append(out, backupSummary{ID: l.ID, Error: l.Err.Error()})
					continue
				}
				out = append(out, summaryOf(l.Manifest))
			}

			err = cli.PrintList(a, out, "BACKUP\tNODE\tCREATED\tFILES\tSIZE\tSEALED FOR\tPARENT", func(s backupSummary) string {
				if s.Error != "" {
					return fmt.Sprintf("%s\t-\t-\t-\t-\t-\t%s", s.ID, cli.OneLine(s.Error))
				}
				return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s\t%s", s.ID, nameOr(s.NodeName, s.NodeID), s.Created.Format(time.RFC3339), s.Files, cli.Size(s.Bytes), s.sealedFor(), nameOr(s.Parent, "-"))
			}, func(s backupSummary) string { return s.ID })

			return errors.Join(err, bad)
		},
	}

	at.declare(c)
	return c
}

func backupVerifyCommand(a *cli.App) *cobra.Command {
	var at placeOptions
	var id string
	c := &cobra.Command{
		Use: "verify PLACE", Short: "Read a whole backup and check it",
		Long: `Read every object of a backup, the last one unless --backup names another, and compare it with
the manifest, which the node has signed. It needs no passphrase and no node. Exit
code 10, with what is damaged or missing, where it does not hold.

` + placeHelp,
		Example: `  wasmhost backup verify /mnt/backups/
  wasmhost backup verify s3://backups/node-a --backup 20260101T020000Z-5a1c09e2`, Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) (err error) {
			from, err := at.open(args[0], false)
			if err != nil {
				return err
			}

			defer func() { err = errors.Join(err, from.Close()) }()
			m, err := backup.Read(c.Context(), from, id)
			if err != nil {
				return err
			}

			show := &backupShower{App: a}
			err = backup.Verify(c.Context(), from, m, show.step)
			show.clear()
			if err != nil {
				return err
			}

			return a.Print(summaryOf(m), func(w io.Writer) {
				fmt.Fprintf(w, "backup %s of node %s holds: %d files, %s\n", m.ID, nameOr(m.NodeName, m.NodeID), len(m.Files), cli.Size(m.Size()))
			}, func() string { return m.ID })
		},
	}

	at.declare(c)
	c.Flags().StringVar(&id, "backup", "", "the backup; default: the last")
	return c
}

// backupSummary is a backup as it is listed.
type backupSummary struct {
	ID          string    `json:"backup"`
	Parent      string    `json:"parent,omitempty"`
	Created     time.Time `json:"created,omitzero"`
	NodeID      string    `json:"node_id,omitempty"`
	NodeName    string    `json:"node_name,omitempty"`
	Incarnation uint64    `json:"incarnation"`
	Files       int       `json:"files"`
	Bytes       int64     `json:"bytes"`
	Recipient   string    `json:"recipient,omitempty"` // the seal key
	Passphrase  bool      `json:"passphrase"`          // it is sealed to one
	Error       string    `json:"error,omitempty"`     // why the manifest cannot be read
}

func summaryOf(m *backup.Manifest) backupSummary {
	return backupSummary{ID: m.ID, Parent: m.Parent, Created: m.Created, NodeID: m.NodeID, NodeName: m.NodeName, Incarnation: m.Incarnation,
		Files: len(m.Files), Bytes: m.Size(), Recipient: m.Key.Recipient, Passphrase: m.Key.Holder != ""}
}

func (s backupSummary) sealedFor() string {
	if s.Passphrase {
		return "passphrase"
	}
	return s.Recipient[:16]
}

func nameOr(name, or string) string {
	if name == "" {
		return or
	}
	return name
}
