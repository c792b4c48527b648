// Package query is for daemons that answer questions: it exports the function by which they
// are asked. A question changes nothing: the host undoes whatever the answer took.
//
//	func (c *counter) Query(question []byte) ([]byte, error) {
//		return strconv.AppendInt(nil, c.count, 10), nil
//	}
//
//	func init() { query.Register(&counter{}) }
//
// A query is asked by wasmhost query. It may neither emit nor act on others.
package query

import sdk "wasmhost.example/guest-sdk/go"

// Daemon is a daemon that answers questions.
type Daemon interface {
	sdk.Daemon

	// Query answers a question, whose bytes are valid until it returns.
	Query(question []byte) ([]byte, error)
}

var daemon Daemon

// Register makes d the module's daemon. Where its state travels, too, hooks.Register is called
// as well.
func Register(d Daemon) {
	daemon = d
	sdk.Register(d)
}
