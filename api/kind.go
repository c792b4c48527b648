package api

import (
	"errors"
	"time"

	"wasmhost.example/abi"
)

// Kind is a kind. Report is only in the answer about one kind.
type Kind struct {
	Name    string      `json:"name"`
	Digest  string      `json:"digest"`
	Size    int64       `json:"size"`
	Pushed  time.Time   `json:"pushed"`
	Daemons int         `json:"daemons"`
	State   string      `json:"state,omitempty"`
	Report  *abi.Report `json:"report,omitempty"`

	Limits map[string]int64 `json:"limits,omitempty"` // of its own: bytes, counts, nanoseconds

	Nodes []PushedTo `json:"nodes,omitempty"` // to which it was pushed as well
}

// PushedTo is what became of a kind at a node that it was pushed on to.
type PushedTo struct {
	NodeID string   `json:"node_id"`
	Name   string   `json:"name,omitempty"`
	Error  *Problem `json:"error,omitempty"` // it did not take it
}

// ErrNotEverywhere says that not every node took a kind that was pushed to it.
var ErrNotEverywhere = errors.New("some nodes did not take the kind")
