package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// formatVersion is the version of a data directory's layout, and of the records
// that its owners keep in it. Its file "format" names it. Version 1, whose
// records had fewer fields, was in no release: it is refused.
const (
	formatVersion = 5
	oldestVersion = 2
)

// upgrades make of a directory of one version one of the next: there is one for
// each version from oldestVersion on. Each may be cut short by a crash, and is
// then done again.
var upgrades = map[int]func(*Store) error{
	2: func(*Store) error { return nil }, // version 3 adds deltas, and histories that do not begin at 0
	3: func(*Store) error { return nil }, // version 4 adds files of states
	4: func(*Store) error { return nil }, // version 5 adds bindings of groups, fields of a group, what a daemon keeps for life, and an index of those that moved away
}

func formatText(version int) []byte { return fmt.Appendf(nil, "wasmhost-data %d\n", version) }

// prepare makes the directory, or returns the version of what is there.
func prepare(dir string) (version int, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("making the data directory: %w", classify(err))
	}

	path := filepath.Join(dir, "format")
	got, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return formatVersion, writeFile(path, formatText(formatVersion))
	}
	if err != nil {
		return 0, fmt.Errorf("opening the data directory: %w", err)
	}

	for version = oldestVersion; version <= formatVersion; version++ {
		if string(got) == string(formatText(version)) {
			return version, nil
		}
	}

	if _, err := fmt.Sscanf(string(got), "wasmhost-data %d\n", &version); err == nil && version > formatVersion {
		return 0, fmt.Errorf("%w: %s is of version %d, which a newer wasmhost wrote; this program reads versions %d to %d: upgrade it", ErrFormat, dir, version, oldestVersion, formatVersion)
	}
	return 0, fmt.Errorf("%w: %s says %.100q, this program reads versions %d to %d", ErrFormat, path, got, oldestVersion, formatVersion)
}

// upgrade brings an open directory from version to formatVersion.
func (s *Store) upgrade(dir string, version int) error {
	for ; version < formatVersion; version++ {
		if err := upgrades[version](s); err != nil {
			return fmt.Errorf("upgrading the data directory from version %d: %w", version, err)
		}
		if err := writeFile(filepath.Join(dir, "format"), formatText(version+1)); err != nil {
			return fmt.Errorf("upgrading the data directory from version %d: %w", version, err)
		}
		s.logger.Info("the data directory was upgraded: earlier programs do not read it", "version", version+1)
	}
	return nil
}
