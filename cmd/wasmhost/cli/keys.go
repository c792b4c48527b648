package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"wasmhost.example/identity"
)

// SeedOf reads the seed of a key file; nil without one.
func SeedOf(keyFile, passFile string) ([]byte, error) {
	if keyFile == "" {
		return nil, nil
	}
	pass, err := Passphrase(passFile)
	if err != nil {
		return nil, err
	}
	key, err := identity.ReadKeyFile(keyFile, pass)
	if err != nil {
		return nil, err
	}
	return key.Seed()
}

// maxPassphrase bounds a passphrase from standard input, in bytes.
const maxPassphrase = 64 << 10

// Passphrase reads the passphrase in a file, - on standard input; nil without a file.
func Passphrase(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	read := os.ReadFile
	if path == "-" {
		read = func(string) ([]byte, error) { return io.ReadAll(io.LimitReader(os.Stdin, maxPassphrase)) }
	}
	b, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	if len(b) == 0 {
		return nil, Usagef("reading the passphrase: %s is empty", path)
	}
	return b, nil
}

// Secret is text, or what standard input holds where text is -.
func (a *App) Secret(text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	b, err := io.ReadAll(io.LimitReader(a.In, 64<<10))
	return strings.TrimSpace(string(b)), err
}

// Subject reads a key file, or an entity id.
func Subject(text string) (identity.EntityID, error) {
	if id, err := identity.ParseEntityID(text); err == nil {
		return id, nil
	}
	if _, err := os.Stat(text); err != nil {
		return identity.EntityID{}, Usagef("%q is neither 64 hexadecimal digits nor a key file", text)
	}
	return identity.ReadKeyFileID(text)
}

// ReadToken reads a token's file.
func (a *App) ReadToken(path string) (*identity.TokenChain, error) {
	text, err := a.ReadText(path)
	if err != nil {
		return nil, err
	}
	return identity.ParseTokenText(text)
}

// ReadText reads a small file, or standard input for -.
func (a *App) ReadText(path string) (string, error) {
	if path == "-" {
		return a.Secret("-")
	}
	f, err := a.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return strings.TrimSpace(string(b)), err
}
