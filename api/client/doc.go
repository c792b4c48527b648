// Package client is the Go client of a node's HTTP API. It needs the types of package api
// and nothing of a node: neither a runtime nor a store nor QUIC is compiled into a program
// that imports it.
//
// Dial makes a client of a node of this machine, by its socket, DialTLS of one elsewhere,
// by its address and an API token.
//
// Client itself spawns, sends, follows and migrates. Everything else has a topic, which
// topics.go lists: c.Daemons().List, c.Kinds().Push, c.Groups().Scale. All methods may be
// called by many goroutines at once. A method that takes a callback calls it on the caller's
// goroutine, one call after the other, and returns after the last.
//
// An error that the node answered is an *api.Problem, with a code that does not change. An
// error that matches ErrUnreachable says that no answer came: what was asked may have been
// done. A context that ends is the error of the call, as context says it.
package client
