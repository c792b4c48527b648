package host

import (
	"wasmhost.example/host/internal/cluster"
	"wasmhost.example/host/store"
)

// OlderThan reports whether a node's store is older than the life that its cluster's
// directory has of the node: it was set back to a backup, or lost. A directory that has
// none says nothing. Nothing must have been started on the store.
func OlderThan(s *store.Store, life []byte) (bool, error) { return cluster.OlderThan(s, life) }
