package serve

import (
	"time"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/node"
)

// idleOptions are the settings that say when daemons leave memory.
type idleOptions struct{ after, memory string }

func (o idleOptions) apply(to *node.Config) (err error) {
	if to.PassivateAfter, err = time.ParseDuration(o.after); err != nil || to.PassivateAfter < 0 {
		return cli.Usagef("--passivate-after %q is not a duration such as 10m; 0s: never", o.after)
	}
	to.ActiveBytes, err = cli.ParseSize(o.memory)
	return err
}
