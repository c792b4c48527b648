// Package backup keeps copies of nodes' data directories, and brings them back.
//
// A backup is a manifest, which names the files of a data directory by their
// SHA-256, and an object for each digest. Backups in one place share objects, so
// that a backup adds only what no earlier one there has. A place is a directory
// (Dir), a single file with one backup (File), or whatever implements Objects.
//
// The node signs its manifest and seals its own key in it; the keys of daemons
// are sealed by the node's key within the data. Who has a place but neither the
// passphrase nor the recipient's key can remove backups, and can neither read
// keys nor make a backup that Verify takes for the node's.
package backup

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors of backups.
var (
	ErrNotFound    = errors.New("no such backup")
	ErrNotABackup  = errors.New("not a place of backups")
	ErrDamaged     = errors.New("the backup is damaged")
	ErrManifest    = errors.New("not a manifest of a backup")
	ErrVersion     = errors.New("the backup is of a version that this program does not know")
	ErrCut         = errors.New("the node's answer ended before the backup did")
	ErrWrongKey    = errors.New("the backup is not sealed for this key")
	ErrDenied      = errors.New("the store of backups refuses the credentials")
	ErrUnreachable = errors.New("the store of backups cannot be reached")
	ErrExists      = errors.New("the place holds something already")
)

// Objects is a place where backups are. Its methods can be called concurrently.
type Objects interface {
	// Put stores size bytes of r under the name. After it has returned nil the
	// object is whole and, but for File, durable. An object of that name is
	// replaced.
	Put(ctx context.Context, name string, size int64, r io.Reader) error

	// Open returns the object and its size in bytes, or ErrNotFound.
	Open(ctx context.Context, name string) (io.ReadCloser, int64, error)

	// List calls fn with the names that begin with prefix, which ends with a
	// slash, in no order.
	List(ctx context.Context, prefix string, fn func(name string, size int64) error) error

	// Close ends the use of the place. Backups that were made are durable once
	// it has returned nil.
	Close() error
}

// Prefixes of objects' names.
const (
	objectPrefix   = "objects/"
	manifestPrefix = "backups/"
	manifestSuffix = ".manifest"
)

func objectName(digest string) string { return objectPrefix + digest }

func manifestName(id string) string { return manifestPrefix + id + manifestSuffix }

// ValidName reports whether a place may hold an object of the name.
func ValidName(name string) bool {
	if digest, ok := strings.CutPrefix(name, objectPrefix); ok {
		return validDigest(digest)
	}
	id, ok := strings.CutPrefix(name, manifestPrefix)
	id, isManifest := strings.CutSuffix(id, manifestSuffix)
	return ok && isManifest && validID(id)
}

func validDigest(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == 32 && text == strings.ToLower(text)
}

// maxID bounds a backup's id in bytes.
const maxID = 64

func validID(id string) bool {
	if id == "" || len(id) > maxID || id[0] == '.' {
		return false
	}
	return strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// Progress is how far a backup, its check or its restoration is.
type Progress struct {
	Phase string `json:"phase"` // backup, verify or restore
	Done  int64  `json:"done"`  // bytes of Whole
	Whole int64  `json:"whole"` // bytes
	Files int    `json:"files"` // that are done
	Fresh int64  `json:"fresh"` // bytes that the place did not have
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}
