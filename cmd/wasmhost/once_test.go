package main

import (
	"bytes"
	"strings"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// A flag that stands twice, or a number that is not written plainly, is a mistake and
// nothing is done.
func TestFlagsAreStrict(t *testing.T) {
	for _, line := range []string{"send d --data x --id a --id b", "send d --data x --data y", "migrate d --to b --to c", "spawn k --name a --name b", "stop d --yes --yes",
		"receipt save d --out x --epoch 010", "receipt save d --out x --epoch 0x10", "receipt save d --out x --epoch +1", "spawn k --standbys 1e0"} {
		var out, errOut bytes.Buffer
		if code := cli.Execute(t.Context(), root, strings.Fields(line), strings.NewReader(""), &out, &errOut); code != api.ExitUsage || out.Len() > 0 {
			t.Errorf("%s: exit %d, %s%s, want %d", line, code, &out, &errOut, api.ExitUsage)
		}
	}
}
