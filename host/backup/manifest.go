package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Version is that of the format. A program refuses others.
const Version = 1

// Bounds on a manifest.
const (
	MaxManifest = 64 << 20 // bytes of a manifest
	MaxFiles    = 1 << 18  // files of a backup
	maxPath     = 255      // bytes of a file's path
	maxText     = 255      // bytes of a name or an address
)

// Manifest says what a backup is.
type Manifest struct {
	Version     int       `json:"version"`
	ID          string    `json:"id"`
	Parent      string    `json:"parent,omitempty"` // the backup that was the place's last before it; empty: none
	Created     time.Time `json:"created"`
	NodeID      string    `json:"node_id"`
	NodeKey     string    `json:"node_key"` // the node's public key, 64 hexadecimal digits
	NodeName    string    `json:"node_name,omitempty"`
	Addr        string    `json:"addr,omitempty"` // where the node listened
	Incarnation uint64    `json:"incarnation"`    // how often the node was restored before
	Program     string    `json:"program"`        // version of the program that made the backup
	Files       []File    `json:"files"`          // sorted by path
	Key         SealedKey `json:"key"`
}

// File is one file of the data directory.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// SealedKey is the node's key, sealed for one recipient.
type SealedKey struct {
	Recipient string `json:"recipient"`        // the seal key, 64 hexadecimal digits
	Holder    string `json:"holder,omitempty"` // the recipient's key file, under a passphrase; empty: the recipient has it
	Envelope  []byte `json:"envelope,omitempty"`
}

// Size is how many bytes the files have.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// signedPrefix begins what a node signs of its manifests.
const signedPrefix = "wasmhost backup 1\n"

// link is what the envelope, which the node signs, is bound to: all that the
// manifest says but for the envelope.
func (m *Manifest) link() ([]byte, error) {
	bare := *m
	bare.Key.Envelope = nil
	b, err := json.Marshal(&bare)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte(signedPrefix), b...))
	return sum[:], nil
}

// Seal puts the node's key into the manifest, sealed for the recipient, and signs
// the manifest with it.
func (m *Manifest) Seal(node *identity.KeyPair, recipient identity.SealKey) error {
	m.NodeKey, m.Key.Recipient = node.ID().String(), hex.EncodeToString(recipient[:])
	link, err := m.link()
	if err != nil {
		return err
	}

	e, err := identity.Seal(node, recipient, link)
	if err != nil {
		return err
	}

	m.Key.Envelope = e.Bytes()
	return nil
}

// OpenKey returns the node's key. recipient is the key that it is sealed for:
// another is ErrWrongKey.
func (m *Manifest) OpenKey(recipient *identity.KeyPair) (*identity.KeyPair, error) {
	e, link, node, err := m.envelope()
	if err != nil {
		return nil, err
	}

	key, err := e.Open(recipient, link, node)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongKey, err)
	}
	return key, nil
}

func (m *Manifest) envelope() (*identity.Envelope, []byte, identity.EntityID, error) {
	node, err := identity.ParseEntityID(m.NodeKey)
	if err != nil {
		return nil, nil, node, fmt.Errorf("%w: the node's key: %w", ErrManifest, err)
	}

	e, err := identity.ParseEnvelope(m.Key.Envelope)
	if err != nil {
		return nil, nil, node, fmt.Errorf("%w: %w", ErrManifest, err)
	}

	link, err := m.link()
	return e, link, node, err
}

// Encode returns the manifest as a place keeps it: a line with its digest, then
// JSON.
func (m *Manifest) Encode() ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "%s%x\n", headPrefix, sha256.Sum256(body)), body...), nil
}

// headPrefix begins the line before a manifest's JSON.
const headPrefix = "wasmhost-backup sha256:"

// Parse reads what Encode wrote, and believes nothing of it: it is whole, in
// bounds, names no file outside of a data directory, and its node has signed it.
// Errors wrap ErrManifest, ErrVersion or ErrDamaged.
func Parse(b []byte) (*Manifest, error) {
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("%w: %d bytes; the limit is %d", ErrManifest, len(b), MaxManifest)
	}

	head, body, ok := bytes.Cut(b, []byte("\n"))
	sum, isOurs := strings.CutPrefix(string(head), headPrefix)
	if !ok || !isOurs || !validDigest(sum) {
		return nil, fmt.Errorf("%w: it begins with %.40q", ErrManifest, head)
	}
	if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != sum {
		return nil, damaged("the manifest does not have its digest")
	}

	m, err := decode(body)
	if err != nil {
		return nil, err
	}

	e, link, node, err := m.envelope()
	if err != nil {
		return nil, err
	}
	if err := e.Verify(link, node); err != nil {
		return nil, damaged("its node has not signed the manifest: %v", err)
	}

	return m, nil
}

// decode is Parse of the JSON, whoever has signed it.
func decode(body []byte) (*Manifest, error) {
	var any struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(body, &any); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if any.Version != Version {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrVersion, any.Version, Version)
	}

	m := &Manifest{}
	if err := canon.UnmarshalJSON(body, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}

	return m, nil
}

func (m *Manifest) check() error {
	if !validID(m.ID) || m.Parent != "" && !validID(m.Parent) {
		return fmt.Errorf("%w: its id is %.80q, its parent %.80q", ErrManifest, m.ID, m.Parent)
	}
	if len(m.NodeName) > maxText || len(m.Addr) > maxText || len(m.Program) > maxText || len(m.NodeID) > maxText {
		return fmt.Errorf("%w: a name has more than %d bytes", ErrManifest, maxText)
	}
	if !validDigest(m.Key.Recipient) {
		return fmt.Errorf("%w: the recipient is %.80q", ErrManifest, m.Key.Recipient)
	}
	if len(m.Files) > MaxFiles {
		return fmt.Errorf("%w: %d files; the limit is %d", ErrManifest, len(m.Files), MaxFiles)
	}

	last, left := "", int64(math.MaxInt64)
	for _, f := range m.Files {
		if !validPath(f.Path) {
			return fmt.Errorf("%w: it names the file %.80q, which no data directory has", ErrManifest, f.Path)
		}
		if f.Path <= last {
			return fmt.Errorf("%w: %.80q comes after %.80q", ErrManifest, f.Path, last)
		}
		if f.Size < 0 || f.Size > left || !validDigest(f.SHA256) {
			return fmt.Errorf("%w: %.80q has %d bytes and the digest %.80q", ErrManifest, f.Path, f.Size, f.SHA256)
		}

		last, left = f.Path, left-f.Size
	}

	return nil
}

// validPath reports whether a backup may have a file of the path: format, or a
// plain name in db, states or modules. Nothing else is ever written by Restore.
func validPath(path string) bool {
	if path == "format" {
		return true
	}
	folder, name, ok := strings.Cut(path, "/")
	if !ok || folder != "db" && folder != "states" && folder != "modules" || len(path) > maxPath {
		return false
	}
	return name != "" && name[0] != '.' && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}
