package node_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestNoetcdLeavesTheEngineOut looks at what a program compiles that embeds a node, with
// and without the cluster engine.
func TestNoetcdLeavesTheEngineOut(t *testing.T) {
	engine := func(tags, pkg string) (all int, of []string) {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tags, "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", pkg).Output()
		if err != nil {
			t.Fatalf("listing what %s compiles: %v", pkg, err)
		}
		paths := strings.Fields(string(out))
		for _, path := range paths {
			for _, part := range []string{"go.etcd.io/", "google.golang.org/grpc", "go.uber.org/zap", "grpc-ecosystem"} {
				if strings.HasPrefix(path, part) {
					of = append(of, path)
				}
			}
		}
		return len(paths), of
	}
	for _, pkg := range []string{".", "../cmd/wasmhost"} {
		all, with := engine("", pkg)
		if len(with) == 0 {
			t.Errorf("%s does not compile the engine: what this test looks for is not there", pkg)
		}
		left, without := engine("noetcd", pkg)
		if len(without) > 0 {
			t.Errorf("%s compiles with noetcd: %v", pkg, without)
		}
		t.Logf("%s: %d packages beside the standard library, %d with noetcd", pkg, all, left)
	}
}
