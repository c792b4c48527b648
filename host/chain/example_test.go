package chain_test

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"os"

	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
)

// Links of a chain name the hash of the one before: what was emitted cannot be changed,
// left out or put in without its being seen.
func ExampleChain() {
	seed := [32]byte{1}
	key, err := identity.FromSeed(seed[:])
	if err != nil {
		log.Fatal(err)
	}
	genesis := chain.Genesis(key.ID(), 1)
	c := chain.New(genesis, nil)
	first := c.Append(1, 0, []byte("one"))
	second := c.Append(1, 0, []byte("two"))

	fmt.Println(second.Sequence, c.Sequence())
	again := chain.New(genesis, nil)
	fmt.Println(again.Append(1, 0, []byte("one")) == first, again.Append(1, 0, []byte("2")) == second)
	// A link is of what came before it; its own payload counts in the next one.
	fmt.Println(again.Append(1, 0, []byte("three")) == c.Append(1, 0, []byte("three")))
	// Output:
	// 2 2
	// true true
	// false
}

// A checkpoint is a daemon's signature of where its chain stands.
func ExampleCheckpoint() {
	seed := [32]byte{1}
	key, err := identity.FromSeed(seed[:])
	if err != nil {
		log.Fatal(err)
	}
	c := chain.New(chain.Genesis(key.ID(), 1), nil)
	c.Append(1, 0, []byte("one"))
	stands := chain.Checkpoint{Purpose: chain.PurposePeriodic, Entity: key.ID(), Epoch: 1, Sequence: c.Sequence(), Head: c.HeadHash()}
	if err := stands.Sign(key); err != nil {
		log.Fatal(err)
	}

	fmt.Println(stands.Verify())
	stands.Sequence++
	fmt.Println(stands.Verify() != nil)
	// Output:
	// <nil>
	// true
}

// Two signed histories of one daemon prove that its key was used twice, to anybody.
func ExampleReadEquivocation() {
	file, err := os.Open("testdata/equivocation.proof")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	proof, err := chain.ReadEquivocation(file)
	if err != nil {
		log.Fatal(err)
	}
	conflict, err := proof.Verify()
	fmt.Println(conflict.Sequence, err)
	// Output: 1 <nil>
}

// What is not a chain file is refused by name. host.Outputs.Export writes one.
func ExampleVerify_bad() {
	_, err := chain.Verify(bytes.NewReader([]byte("not a chain")))
	fmt.Println(errors.Is(err, chain.ErrBadFile))
	// Output: true
}
