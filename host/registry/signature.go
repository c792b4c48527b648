package registry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ModuleSignature is the word of a key's holder that a module may run.
type ModuleSignature struct {
	_         struct{} `cbor:",toarray"`
	Key       identity.EntityID
	Signature []byte // Ed25519, 64 bytes, over the module's SHA-256 in a domain of its own
}

// Errors of signed modules.
var (
	// ErrModuleUnsigned says that a module does not run here, for none of the keys that
	// the node trusts has signed it.
	ErrModuleUnsigned = errors.New("the module is not signed by a key that this node trusts")

	// ErrBadSignature says that a text is no signature of the module.
	ErrBadSignature = errors.New("not a signature of this module")
)

const (
	moduleDomain    = "wasmhost module v1"
	signaturePrefix = "whs1."
)

// SignModule signs the module of that SHA-256. Errors: identity.ErrReadOnly.
func SignModule(key *identity.KeyPair, digest [32]byte) (ModuleSignature, error) {
	sig, err := key.SignDomain(moduleDomain, digest[:])
	if err != nil {
		return ModuleSignature{}, fmt.Errorf("signing module %x: %w", digest, err)
	}
	return ModuleSignature{Key: key.ID(), Signature: sig}, nil
}

// Verify returns nil where the key has signed the module; ErrBadSignature.
func (s ModuleSignature) Verify(digest [32]byte) error {
	if err := identity.VerifyDomain(s.Key, moduleDomain, digest[:], s.Signature); err != nil {
		return fmt.Errorf("%w: %x, by %s: %w", ErrBadSignature, digest, s.Key, err)
	}
	return nil
}

// String returns the signature as text: whs1. and the canonical CBOR in base64url.
func (s ModuleSignature) String() string {
	b, err := canon.Marshal(&s)
	if err != nil {
		return "" // it has no values that do not encode
	}
	return signaturePrefix + base64.RawURLEncoding.EncodeToString(b)
}

// maxSignature is how many characters a signature takes at most.
const maxSignature = 256

// ParseModuleSignature reads what String writes; ErrBadSignature.
func ParseModuleSignature(text string) (s ModuleSignature, err error) {
	coded, ok := strings.CutPrefix(strings.TrimSpace(text), signaturePrefix)
	if !ok || len(coded) > maxSignature {
		return s, fmt.Errorf("%w: it does not begin with %s, or is too long", ErrBadSignature, signaturePrefix)
	}

	b, err := base64.RawURLEncoding.Strict().DecodeString(coded)
	if err == nil {
		err = canon.Unmarshal(b, &s)
	}

	if err != nil || len(s.Signature) != 64 || s.Key.IsZero() {
		return ModuleSignature{}, fmt.Errorf("%w: it does not decode", ErrBadSignature)
	}
	return s, nil
}

func signatureKey(digest [32]byte, key identity.EntityID) []byte {
	return append(append([]byte("signature/"), digest[:]...), key[:]...)
}

// AddSignature keeps a signature of a module, which need not be here yet.
// ErrBadSignature; ErrModuleUnsigned where its key is none that the node trusts.
func (r *Registry) AddSignature(digest [32]byte, s ModuleSignature) error {
	if err := s.Verify(digest); err != nil {
		return err
	}
	if len(r.moduleKeys) > 0 && !slices.Contains(r.moduleKeys, s.Key) {
		return fmt.Errorf("%w: %x, by %s", ErrModuleUnsigned, digest, s.Key)
	}

	if r.env.Store == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.signatures[digest] = append(r.signatures[digest], s.Key)
		return nil
	}

	b := &store.Batch{}
	b.Put(store.Meta, signatureKey(digest, s.Key), s.Signature)
	if err := r.env.Store.Commit(b); err != nil {
		return fmt.Errorf("storing a signature of module %x: %w", digest, err)
	}
	return nil
}

// MayRun returns nil where a key that the node trusts has signed the module, or the
// node does not ask for signatures; ErrModuleUnsigned.
func (r *Registry) MayRun(digest [32]byte) error {
	if len(r.moduleKeys) == 0 {
		return nil
	}

	r.mu.RLock()
	known := r.signatures[digest]
	r.mu.RUnlock()

	for _, key := range r.moduleKeys {
		if slices.Contains(known, key) {
			return nil
		}
		if r.env.Store == nil {
			continue
		}

		sig, err := r.env.Store.Get(store.Meta, signatureKey(digest, key))
		switch {
		case errors.Is(err, store.ErrNotFound):
			continue
		case err != nil:
			return fmt.Errorf("reading the signatures of module %x: %w", digest, err)
		}

		if err := (ModuleSignature{Key: key, Signature: sig}).Verify(digest); err == nil {
			return nil
		}
	}

	return fmt.Errorf("%w: %x", ErrModuleUnsigned, digest)
}

// PushSigned is PushWith with signatures of the module; a nil own keeps the
// limits that the kind has.
func (r *Registry) PushSigned(ctx context.Context, name string, wasm []byte, own *daemon.Limits, signatures []ModuleSignature) (KindInfo, error) {
	digest := sha256.Sum256(wasm)
	for _, s := range signatures {
		if err := r.AddSignature(digest, s); err != nil {
			return KindInfo{}, err
		}
	}

	if own != nil {
		return r.PushWith(ctx, name, wasm, *own)
	}
	return r.Push(ctx, name, wasm)
}
