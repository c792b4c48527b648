package kinds

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
)

func kindSignCommand(a *cli.App) *cobra.Command {
	var keyFile, passFile string
	c := &cobra.Command{Use: "sign FILE", Short: "Sign a module, so that nodes with --kind-keys run it", Long: `Sign a module with a key of "wasmhost identity new", and print the signature. It asks
no node. The signature is of the module's bytes, whatever the kind is named.`, Example: `  wasmhost kind sign counter.wasm --identity release.key > counter.sig
  wasmhost kind push counter counter.wasm --signature counter.sig --to all`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		pass, err := cli.Passphrase(passFile)
		if err != nil {
			return err
		}
		key, err := identity.ReadKeyFile(keyFile, pass)
		if err != nil {
			return err
		}
		f, err := a.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		digest := [32]byte(h.Sum(nil))
		sig, err := registry.SignModule(key, digest)
		if err != nil {
			return err
		}
		return a.Print(struct {
			Module    string `json:"module"`
			Key       string `json:"key"`
			Signature string `json:"signature"`
		}{fmt.Sprintf("%x", digest), sig.Key.String(), sig.String()}, func(w io.Writer) { fmt.Fprintln(w, sig) }, sig.String)
	}}
	c.Flags().StringVar(&keyFile, "identity", "", "key file of the key that signs")
	c.Flags().StringVar(&passFile, "passphrase-file", "", "file with the key file's passphrase")
	if err := c.MarkFlagRequired("identity"); err != nil {
		panic(err) // the flag is there
	}
	return c
}

// signatures reads files of signatures, which the node checks.
func signatures(a *cli.App, files []string) ([]string, error) {
	var out []string
	for _, file := range files {
		f, err := a.Open(file)
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(io.LimitReader(f, 64<<10))
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return nil, err
		}
		for _, text := range strings.Fields(string(b)) {
			if _, err := registry.ParseModuleSignature(text); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			out = append(out, text)
		}
	}
	return out, nil
}

// ModuleKeys are the keys whose modules run.
func ModuleKeys(text string) (out []identity.EntityID, err error) {
	for _, ref := range strings.Split(text, ",") {
		if ref = strings.TrimSpace(ref); ref == "" {
			continue
		}
		id, err := cli.Subject(ref)
		if err != nil {
			return nil, fmt.Errorf("--kind-keys: %w", err)
		}
		out = append(out, id)
	}
	return out, nil
}
