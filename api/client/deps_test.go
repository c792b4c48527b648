package client

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestAClientCompilesNoNode looks at what a program compiles that imports this package.
func TestAClientCompilesNoNode(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(out))
	if len(got) < 5 || len(got) > 20 {
		t.Errorf("%d packages beside the standard library: %v", len(got), got)
	}

	self := got[len(got)-1] // its dependencies come before it
	module := strings.TrimSuffix(self, "/api/client")
	own := []string{module + "/abi", module + "/api", self, module + "/identity", module + "/internal/canon"}
	for _, path := range got {
		if strings.HasPrefix(path, module+"/") && !slices.Contains(own, path) {
			t.Errorf("it compiles %s", path)
		}
		for _, part := range []string{"wazero", "pebble", "quic-go", "etcd", "grpc", "prometheus", "opentelemetry"} {
			if strings.Contains(path, part) {
				t.Errorf("it compiles %s", path)
			}
		}
	}
}
