//go:build !noetcd

package node_test

import (
	"testing"
	"time"

	"wasmhost.example/node"
	"wasmhost.example/wire/trust"
)

// Two nodes of one program are a cluster, whose directory they keep themselves.
func TestCluster(t *testing.T) {
	a := open(t, node.Config{Dir: t.TempDir(), Name: "a", Cluster: &node.Cluster{}})
	token, err := a.Token(time.Minute, trust.RightsVoter)
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, node.Config{Dir: t.TempDir(), Name: "b", Join: token, JoinRights: trust.RightsAll, Cluster: &node.Cluster{}})
	for _, n := range []*node.Node{a, b} {
		s, err := n.Client().Cluster().Status(t.Context())
		if err != nil {
			t.Fatalf("asking for the cluster: %v", err)
		}
		if s.Name != node.DefaultClusterName || len(s.Members) != 2 {
			t.Errorf("cluster %q has %d members, want %q with 2", s.Name, len(s.Members), node.DefaultClusterName)
		}
	}
}
