// Package client is the Go client of a node's HTTP API. It needs the types of package api
// and nothing of a node: neither a runtime nor a store nor QUIC is compiled into a program
// that imports it.
//
// Dial makes a client of a node of this machine, by its socket, DialTLS of one elsewhere,
// by its address and an API token.
package client
