package identity_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"wasmhost.example/identity"
)

// Members' secrets are those that another implementation of BLAKE2s gives:
// testdata/replicas.json was made by Python's hashlib.
func TestReplicaVectors(t *testing.T) {
	b, err := os.ReadFile("testdata/replicas.json")
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Seed    string
		Members []struct {
			Index  uint8
			Secret string
		}
	}
	if err := json.Unmarshal(b, &groups); err != nil {
		t.Fatal(err)
	}
	seen := map[identity.EntityID]bool{}
	for _, g := range groups {
		seed, err := hex.DecodeString(g.Seed)
		if err != nil || len(g.Members) == 0 {
			t.Fatal(err)
		}
		for _, m := range g.Members {
			k, err := identity.Replica([32]byte(seed), m.Index)
			if err != nil {
				t.Fatal(err)
			}
			got, err := k.Seed()
			want, _ := hex.DecodeString(m.Secret)
			if err != nil || !bytes.Equal(got, want) || seen[k.ID()] {
				t.Errorf("seed %s, member %d: %x, want %s, %v", g.Seed, m.Index, got, m.Secret, err)
			}
			seen[k.ID()] = true
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d vectors", len(seen))
	}
}
