package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/abi"
)

// Convention is the flags that say how to run a module that knows nothing of
// the contract.
type Convention struct{ abi, call string }

// ConventionHelp is the part of a command's help that explains --abi and --call.
const ConventionHelp = `--abi runs a module that was not built for wasmhost, unchanged. wasi-command is a WASI
program: each event is the standard input of a fresh run of it, what it writes to
standard output is the output, an exit code other than 0 a failure; the lines of the
daemon's configuration are its arguments. extism is an Extism plug-in: each event is
given to its function --call; its memory and variables are the daemon's state, and a
configuration, a JSON object of texts, is what config_get finds.`

// Declare gives c the flags --abi and --call.
func (v *Convention) Declare(c *cobra.Command) {
	c.Flags().StringVar(&v.abi, "abi", "", "run a foreign module by its convention: "+strings.Join(abi.Conventions, " or "))
	c.Flags().StringVar(&v.call, "call", "", "--abi extism: the plug-in's function; default: the only one")
}

// Read reads a module, - from standard input, and says in it by which convention it is run.
func (v *Convention) Read(a *App, path string) ([]byte, error) {
	wasm, err := a.ReadFile(path)
	if err != nil || v.abi == "" {
		if err == nil && v.call != "" {
			err = Usagef("--call is for --abi extism")
		}
		return wasm, err
	}
	adapted, err := abi.Adapt(wasm, v.abi, v.call)
	if errors.Is(err, abi.ErrConvention) {
		return nil, Usagef("%v", err)
	}
	return adapted, err
}
