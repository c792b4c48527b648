package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"wasmhost.example/identity"
)

// seedOf reads the seed of a key file; nil without one.
func seedOf(keyFile, passFile string) ([]byte, error) {
	if keyFile == "" {
		return nil, nil
	}
	pass, err := passphrase(passFile)
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

// passphrase reads the passphrase in a file, - on standard input; nil without a file.
func passphrase(path string) ([]byte, error) {
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
		return nil, usagef("reading the passphrase: %s is empty", path)
	}
	return b, nil
}

// secret is text, or what standard input holds where text is -.
func (a *App) secret(text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	b, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
	return strings.TrimSpace(string(b)), err
}

// subject reads a key file, or an entity id.
func subject(text string) (identity.EntityID, error) {
	if id, err := identity.ParseEntityID(text); err == nil {
		return id, nil
	}
	if _, err := os.Stat(text); err != nil {
		return identity.EntityID{}, usagef("%q is neither 64 hexadecimal digits nor a key file", text)
	}
	return identity.ReadKeyFileID(text)
}

// readToken reads a token's file.
func (a *App) readToken(path string) (*identity.TokenChain, error) {
	text, err := a.readText(path)
	if err != nil {
		return nil, err
	}
	return identity.ParseTokenText(text)
}

// readText reads a small file, or standard input for -.
func (a *App) readText(path string) (string, error) {
	if path == "-" {
		return a.secret("-")
	}
	f, err := a.open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	return strings.TrimSpace(string(b)), err
}
