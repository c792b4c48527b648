package host

import (
	"bytes"
	"errors"
	"fmt"

	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// OlderThan reports whether a node's store is older than the life that its cluster's
// directory has of the node: it was set back to a backup, or lost. A directory that has
// none says nothing. Nothing must have been started on the store.
func OlderThan(s *store.Store, life []byte) (bool, error) {
	if len(life) == 0 {
		return false, nil
	}
	var last lifeRecord
	b, err := s.Get(store.Meta, lifeKey)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err == nil {
		err = canon.Unmarshal(b, &last)
	}
	if err != nil {
		return false, fmt.Errorf("%w: the mark of the node's life: %w", store.ErrCorrupt, err)
	}
	mark := life[:min(len(life), lifeMark)]
	return !bytes.Equal(mark, last.Mark) && !bytes.Equal(mark, last.Pending), nil
}
