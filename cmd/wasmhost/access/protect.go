package access

import (
	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/identity"
)

// protectCommand changes the passphrase of a key file.
func protectCommand(a *cli.App, passFile *string) *cobra.Command {
	var newFile string
	var remove bool
	c := &cobra.Command{
		Use:   "protect FILE",
		Short: "Change, set or remove the passphrase of a key file",
		Long: `Write a key file anew under another passphrase. The key stays the same. A node's
is DATA/node.key, or what serve --key-file names; all keys of daemons that the
node keeps are sealed by it. A node that runs has read its key already. What the
disk keeps of the old file's blocks is not erased.`,
		Example: `  wasmhost identity protect data/node.key --new-passphrase-file pass
  wasmhost identity protect data/node.key --passphrase-file pass --new-passphrase-file better
  wasmhost identity protect data/node.key --passphrase-file better --remove`,
		Args: cli.Exact(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if (newFile == "") != remove {
				return cli.Usagef("give either --new-passphrase-file FILE or --remove")
			}

			old, err := cli.Passphrase(*passFile)
			if err != nil {
				return err
			}

			fresh, err := cli.Passphrase(newFile)
			if err != nil {
				return err
			}

			k, err := identity.ReadKeyFile(args[0], old)
			if err != nil {
				return err
			}

			defer k.Wipe()
			if err := identity.ReplaceKeyFile(args[0], k, fresh); err != nil {
				return err
			}
			return printIdentity(a, k)
		},
	}

	c.Flags().StringVar(&newFile, "new-passphrase-file", "", "file with the passphrase that is to hold")
	c.Flags().BoolVar(&remove, "remove", false, "leave the key without a passphrase")
	return c
}
