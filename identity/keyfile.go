package identity

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"wasmhost.example/internal/canon"
)

// Errors of key files.
var (
	ErrKeyFilePermissions = errors.New("the key file can be read by others")
	ErrPassphraseNeeded   = errors.New("the key file is protected by a passphrase, and none was given")
	ErrWrongPassphrase    = errors.New("the passphrase does not open the key file")
)

const (
	pemType        = "WASMHOST PRIVATE KEY"
	keyFileVersion = 1
	maxKeyFile     = 4096 // bytes of a key file
)

// kdfParams are Argon2id's (RFC 9106): the second recommended option.
type kdfParams struct {
	_       struct{} `cbor:",toarray"`
	Time    uint32
	Memory  uint32 // KiB
	Threads uint8
	Salt    []byte
}

var defaultKDF = kdfParams{Time: 3, Memory: 64 << 10, Threads: 4}

// Bounds on the parameters that a file may ask for.
const (
	maxKDFTime    = 16      // passes of the key derivation that a key file may ask for
	maxKDFMemory  = 1 << 20 // KiB of memory that it may ask for
	maxKDFThreads = 16      // threads that it may ask for
	maxKDFWork    = 4 << 20 // passes times KiB
)

// keyFile is the content of the PEM block, as canonical CBOR. Without a
// passphrase Secret is the seed; with one it is the seed sealed by
// XChaCha20-Poly1305 under Argon2id of the passphrase.
type keyFile struct {
	_      struct{} `cbor:",toarray"`
	V      uint8
	Entity EntityID
	KDF    []kdfParams // none, or one
	Nonce  []byte
	Secret []byte
}

// EncodeKey returns k as a PEM block, sealed with the passphrase unless it is
// empty.
func EncodeKey(k *KeyPair, passphrase []byte) ([]byte, error) {
	seed, err := k.Seed()
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}

	defer clear(seed)
	f := keyFile{V: keyFileVersion, Entity: k.ID(), Secret: seed}
	if len(passphrase) > 0 {
		kdf := defaultKDF
		kdf.Salt, f.Nonce = make([]byte, 16), make([]byte, chacha20poly1305.NonceSizeX)
		for _, b := range [][]byte{kdf.Salt, f.Nonce} {
			if _, err := rand.Read(b); err != nil {
				return nil, fmt.Errorf("encoding a key: %w", err)
			}
		}

		f.KDF = []kdfParams{kdf}
		aead, err := chacha20poly1305.NewX(kdf.derive(passphrase))
		if err != nil {
			return nil, fmt.Errorf("encoding a key: %w", err)
		}

		f.Secret = aead.Seal(nil, f.Nonce, seed, f.header())
	}

	b, err := canon.Marshal(&f)
	if err != nil {
		return nil, err
	}

	defer clear(b)
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: b}), nil
}

// DecodeKey reads what EncodeKey wrote. Errors wrap ErrMalformed,
// ErrPassphraseNeeded or ErrWrongPassphrase.
func DecodeKey(b, passphrase []byte) (*KeyPair, error) {
	f, err := parseKeyFile(b)
	if err != nil {
		return nil, err
	}

	seed, err := f.open(passphrase)
	if err != nil {
		return nil, err
	}

	defer clear(seed)
	k, err := FromSeed(seed)
	if err != nil {
		return nil, err
	}
	if k.ID() != f.Entity {
		return nil, fmt.Errorf("%w: the key file's key is not that of the entity it names", ErrMalformed)
	}

	return k, nil
}

func parseKeyFile(b []byte) (*keyFile, error) {
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("%w: a key file has at most %d bytes, not %d", ErrMalformed, maxKeyFile, len(b))
	}

	block, rest := pem.Decode(b)
	if block == nil || block.Type != pemType || len(block.Headers) != 0 || len(rest) != 0 {
		return nil, fmt.Errorf("%w: not one PEM block %q", ErrMalformed, pemType)
	}

	f := &keyFile{}
	if err := canon.Unmarshal(block.Bytes, f); err != nil {
		return nil, fmt.Errorf("%w: key file: %w", ErrMalformed, err)
	}
	if f.V != keyFileVersion {
		return nil, fmt.Errorf("%w: key file of version %d, this program reads version %d", ErrMalformed, f.V, keyFileVersion)
	}

	return f, nil
}

// ReadKeyFileID returns whose key the file says that it holds. It needs no
// passphrase and proves nothing. Errors wrap ErrMalformed.
func ReadKeyFileID(path string) (EntityID, error) {
	b, err := readKeyBytes(path)
	if err != nil {
		return EntityID{}, err
	}

	defer clear(b)
	f, err := parseKeyFile(b)
	if err != nil {
		return EntityID{}, err
	}

	clear(f.Secret)
	return f.Entity, nil
}

func (f *keyFile) open(passphrase []byte) ([]byte, error) {
	switch len(f.KDF) {
	case 0:
		return f.Secret, nil
	case 1:
	default:
		return nil, fmt.Errorf("%w: key file with %d key derivations", ErrMalformed, len(f.KDF))
	}

	kdf := f.KDF[0]
	if err := kdf.check(); err != nil {
		return nil, err
	}
	if len(f.Nonce) != chacha20poly1305.NonceSizeX {
		return nil, fmt.Errorf("%w: key file nonce of %d bytes", ErrMalformed, len(f.Nonce))
	}
	if len(passphrase) == 0 {
		return nil, ErrPassphraseNeeded
	}

	aead, err := chacha20poly1305.NewX(kdf.derive(passphrase))
	if err != nil {
		return nil, fmt.Errorf("opening a key file: %w", err)
	}

	seed, err := aead.Open(nil, f.Nonce, f.Secret, f.header())
	if err != nil {
		return nil, ErrWrongPassphrase
	}
	return seed, nil
}

// header is what the sealed secret is bound to.
func (f *keyFile) header() []byte { return append([]byte{f.V}, f.Entity[:]...) }

func (p *kdfParams) derive(passphrase []byte) []byte {
	return argon2.IDKey(passphrase, p.Salt, p.Time, p.Memory, p.Threads, chacha20poly1305.KeySize)
}

func (p *kdfParams) check() error {
	if p.Time < 1 || p.Time > maxKDFTime || p.Threads < 1 || p.Threads > maxKDFThreads ||
		p.Memory < 8*uint32(p.Threads) || p.Memory > maxKDFMemory || p.Time*p.Memory > maxKDFWork || len(p.Salt) < 8 || len(p.Salt) > 64 {
		return fmt.Errorf("%w: key file asks for Argon2id with time %d, memory %d KiB, %d threads, salt of %d bytes: outside the bounds",
			ErrMalformed, p.Time, p.Memory, p.Threads, len(p.Salt))
	}
	return nil
}

// WriteKeyFile writes k to a new file that only its owner can read. It does
// not replace a file: the error then wraps fs.ErrExist. No half-written file
// is ever seen under path.
func WriteKeyFile(path string, k *KeyPair, passphrase []byte) (err error) {
	b, err := EncodeKey(k, passphrase)
	if err != nil {
		return err
	}

	defer clear(b)
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing key file %s: %w", path, err)
	}

	defer func() {
		if removeErr := os.Remove(f.Name()); err == nil && removeErr != nil {
			err = fmt.Errorf("writing key file %s: %w", path, removeErr)
		}
	}()

	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}

	if closeErr := f.Close(); err == nil {
		err = closeErr
	}

	if err == nil {
		err = os.Link(f.Name(), path) // fails where path exists
	}

	if err != nil {
		return fmt.Errorf("writing key file %s: %w", path, err)
	}
	return nil
}

// ReadKeyFile reads a key file. A file that others can read is refused with
// ErrKeyFilePermissions.
func ReadKeyFile(path string, passphrase []byte) (*KeyPair, error) {
	b, err := readKeyBytes(path)
	if err != nil {
		return nil, err
	}

	defer clear(b)
	k, err := DecodeKey(b, passphrase)
	if err != nil {
		return nil, fmt.Errorf("reading key file %s: %w", path, err)
	}
	return k, nil
}

// readKeyBytes reads a file that nobody but its owner can read.
func readKeyBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key file: %w", err)
	}

	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading a key file: %w", err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %#o; run chmod 600 %s", ErrKeyFilePermissions, path, st.Mode().Perm(), path)
	}
	if st.Mode()&fs.ModeType != 0 {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrMalformed, path)
	}

	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading key file %s: %w", path, err)
	}
	return b, nil
}
