package identity_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"wasmhost.example/identity"
)

// A token lets another act on a channel of the issuer's. Who has one may pass on less.
func ExampleIssueToken() {
	owner, worker, helper := key(1), key(2), key(3)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	token, err := identity.IssueToken(owner, identity.TokenRequest{
		Subject: worker.ID(), Scope: identity.ScopePublish | identity.ScopeDelegate, Channel: "shop/orders", TTL: time.Hour, Depth: 1,
	}, now)
	if err != nil {
		log.Fatal(err)
	}
	passed, err := token.Delegate(worker, identity.DelegateRequest{Subject: helper.ID(), Scope: identity.ScopePublish, Channel: "shop/orders"}, now)
	if err != nil {
		log.Fatal(err)
	}
	encoded, err := passed.Bytes()
	if err != nil {
		log.Fatal(err)
	}

	verifier := identity.NewTokenVerifier(func() time.Time { return now.Add(time.Minute) }, 0)
	use := identity.TokenUse{Presenter: helper.ID(), Action: identity.ScopePublish, Channel: "shop/orders", Roots: []identity.EntityID{owner.ID()}}
	_, err = verifier.Verify(encoded, use)
	fmt.Println("publish:", err)
	use.Action = identity.ScopeSubscribe
	_, err = verifier.Verify(encoded, use)
	fmt.Println("subscribe:", errors.Is(err, identity.ErrTokenScope))
	// Output:
	// publish: <nil>
	// subscribe: true
}

// A key file is protected by a passphrase, and never printed.
func ExampleWriteKeyFile() {
	dir, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, k := filepath.Join(dir, "daemon.key"), key(1)
	if err := identity.WriteKeyFile(path, k, []byte("correct horse")); err != nil {
		log.Fatal(err)
	}

	again, err := identity.ReadKeyFile(path, []byte("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(again.ID() == k.ID(), again.CanSign())
	// Output: true true
}

// A signature holds for one purpose alone.
func ExampleKeyPair_SignDomain() {
	k, order := key(1), []byte("three apples")
	sig, err := k.SignDomain("shop/order/v1", order)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(identity.VerifyDomain(k.ID(), "shop/order/v1", order, sig))
	fmt.Println(errors.Is(identity.VerifyDomain(k.ID(), "shop/refund/v1", order, sig), identity.ErrInvalidSignature))
	// Output:
	// <nil>
	// true
}

// A daemon's key travels sealed to one node, and says at which link of its chain.
func ExampleSeal() {
	daemon, node, other := key(1), key(2), key(3)
	to, err := node.SealKey()
	if err != nil {
		log.Fatal(err)
	}
	link := []byte("the hash of the daemon's last link..")
	envelope, err := identity.Seal(daemon, to, link)
	if err != nil {
		log.Fatal(err)
	}

	opened, err := envelope.Open(node, link, daemon.ID())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(opened.ID() == daemon.ID(), opened.CanSign())
	_, err = envelope.Open(other, link, daemon.ID())
	fmt.Println(errors.Is(err, identity.ErrSealOpen))
	// Output:
	// true true
	// true
}

// key is a key pair that is the same in every run. A real one is of identity.Generate.
func key(n byte) *identity.KeyPair {
	seed := [32]byte{n}
	k, err := identity.FromSeed(seed[:])
	if err != nil {
		log.Fatal(err)
	}
	return k
}
