package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"wasmhost.example/scripts/internal/fleet"
)

// heard is one line of a witness: an event, as its guest knew it.
type heard struct {
	version, count                int
	daemon, kind, sender, channel string
	time                          int64
	text                          string
}

func parseHeard(line string) (h heard, err error) {
	f := strings.SplitN(line, " ", 8)
	if len(f) != 8 {
		return h, fmt.Errorf("%q is no line of a witness", line)
	}
	h = heard{daemon: f[1], kind: f[3], sender: f[4], channel: f[5], text: f[7]}
	if h.version, err = strconv.Atoi(f[0]); err == nil {
		h.count, err = strconv.Atoi(f[2])
	}
	if err == nil {
		h.time, err = strconv.ParseInt(f[6], 10, 64)
	}
	if err != nil {
		return h, fmt.Errorf("%q is no line of a witness: %w", line, err)
	}
	return h, nil
}

// brief is the line for people.
func brief(line string) string {
	h, err := parseHeard(line)
	if err != nil {
		return line
	}
	return fmt.Sprintf("event %d of daemon %.8s (%s, version %d)", h.count, h.daemon, h.kind, h.version)
}

const nobody = "0000000000000000000000000000000000000000000000000000000000000000"

// witness is the module of that version, from 1 to 9.
func witness(version int) ([]byte, error) {
	wasm, err := os.ReadFile("testdata/wasm/c/witness.wasm")
	if err != nil {
		return nil, err
	}
	name := []byte("witness version 1")
	if bytes.Count(wasm, name) != 1 {
		return nil, fmt.Errorf("the module does not have %q once", name)
	}
	return bytes.Replace(wasm, name, fmt.Appendf(nil, "witness version %d", version), 1), nil
}

// kind is what all daemons of a round are, on every node.
const kind = "witness"

// push makes the version the kind's latest on the node, and returns its digest.
func push(ctx context.Context, n *fleet.Node, version int, limits ...string) (string, error) {
	wasm, err := witness(version)
	if err != nil {
		return "", err
	}
	k, err := n.Client.Kinds().Push(ctx, kind, bytes.NewReader(wasm), limits...)
	return k.Digest, err
}
