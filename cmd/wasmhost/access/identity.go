package access

import (
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/identity"
)

// Identity is the command identity.
func Identity(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "identity", Short: "Create and show identities: Ed25519 key files"}
	var passFile string
	fresh := &cobra.Command{Use: "new FILE", Short: "Make an identity and write its key file", Example: `  wasmhost identity new me.key
  wasmhost identity new me.key --passphrase-file pass`, Args: cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
		pass, err := cli.Passphrase(passFile)
		if err != nil {
			return err
		}

		k, err := identity.Generate()
		if err != nil {
			return err
		}
		if err := identity.WriteKeyFile(args[0], k, pass); err != nil {
			return err
		}

		return printIdentity(a, k)
	}}

	show := &cobra.Command{Use: "show FILE", Short: "Show whose key a file holds; never the key", Example: "  wasmhost identity show me.key", Args: cli.Exact(1), RunE: func(_ *cobra.Command, args []string) error {
		pass, err := cli.Passphrase(passFile)
		if err != nil {
			return err
		}

		k, err := identity.ReadKeyFile(args[0], pass)
		if err != nil {
			return err
		}
		return printIdentity(a, k)
	}}

	c.PersistentFlags().StringVar(&passFile, "passphrase-file", "", "file with the key file's passphrase")
	c.AddCommand(fresh, show, protectCommand(a, &passFile), exportIdentityCommand(a))
	return c
}

func printIdentity(a *cli.App, k *identity.KeyPair) error {
	id := k.ID()
	seal, err := k.SealKey()
	if err != nil {
		return err
	}
	return a.Print(map[string]string{"entity_id": id.String(), "origin": id.Origin().String(), "seal_key": hex.EncodeToString(seal[:])}, func(w io.Writer) {
		fmt.Fprintf(w, "entity id\t%s\norigin\t%s\nseal key\t%x\n", id, id.Origin(), seal)
	}, id.String)
}
