package access

import (
	"errors"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/node"
)

// keeper is a node that does not run, by its files.
type keeper struct{ data, keyFile, passFile string }

// exportIdentityCommand writes a key that a node kept when its daemon moved away without it.
func exportIdentityCommand(a *cli.App) *cobra.Command {
	var o keeper
	c := &cobra.Command{
		Use:   "export ENTITY FILE",
		Short: "Write the key of a daemon that moved away public-only",
		Long: `Write the key that a node keeps of a daemon which moved away with migrate
--public-only, as a key file of mode 0600. The node must not be running: --data names
its directory. ENTITY is the daemon's entity id, whole: 64 hexadecimal digits. The
node goes on keeping the key. Exit code 3 where it keeps none.`,
		Example: `  wasmhost identity export --data data 7c3e…64 digits…91 c1.key`,
		Args:    cli.Exact(2),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			id, err := identity.ParseEntityID(args[0])
			if err != nil {
				return cli.Usagef("%q is no entity id: %v", args[0], err)
			}
			if o.data == "" {
				return cli.Usagef("give --data DIR")
			}

			key, err := keptIn(&o, id)
			if err != nil {
				return err
			}

			defer key.Wipe()
			if err := identity.WriteKeyFile(args[1], key, nil); err != nil {
				return err
			}
			return printIdentity(a, key)
		},
	}

	c.Flags().StringVar(&o.data, "data", "", "the node's data directory")
	c.Flags().StringVar(&o.keyFile, "key-file", "", "the node's key file; default: DATA/node.key")
	c.Flags().StringVar(&o.passFile, "node-passphrase-file", "", "file with the passphrase of the node's key")
	return c
}

// keptIn reads the key that the node of a data directory keeps.
func keptIn(o *keeper, id identity.EntityID) (key *identity.KeyPair, err error) {
	pass, err := cli.Passphrase(o.passFile)
	if err != nil {
		return nil, err
	}

	path := o.keyFile
	if path == "" {
		path = node.KeyFile(o.data)
	}

	nodeKey, err := identity.ReadKeyFile(path, pass) // first: a directory that is no node's is left as it is
	if err != nil {
		return nil, err
	}

	defer nodeKey.Wipe()
	s, err := store.Open(store.Options{Dir: o.data})
	if err != nil {
		return nil, err
	}

	defer func() { err = errors.Join(err, s.Close()) }()
	return host.KeptIn(s, nodeKey, id)
}
