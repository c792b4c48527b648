//go:build noetcd

package node_test

import (
	"errors"
	"testing"

	"wasmhost.example/node"
)

// A program without the engine refuses a cluster by name.
func TestNoClusterEngine(t *testing.T) {
	c := node.Config{Dir: t.TempDir(), Logger: quiet, Cluster: &node.Cluster{}}
	if _, err := node.Open(t.Context(), c); !errors.Is(err, node.ErrNoClusterEngine) {
		t.Errorf("%v, want %v", err, node.ErrNoClusterEngine)
	}
}
