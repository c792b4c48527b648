package access

import (
	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/query"
)

// Operation is what the API's document says of a route, and what a token needs
// for it.
type Operation struct {
	Summary string
	Scope   api.Scope // 0: ScopeOwner
	Query   []query.Parameter
	Body    any    // of which type the JSON body is; nil: none, or bytes
	Bytes   string // media type of a body that is bytes
	Limit   int64  // of the body; 0: maxJSON
	Answer  any    // of which type the JSON answer is; nil: none, or binary
	Lines   any    // of which type the values of a streamed answer are
	Binary  string // media type of an answer that is bytes
	Event   bool   // it delivers events
	Stream  bool   // the body is a stream without a bound; its frames have one
}

func (o Operation) bodyLimit() int64 {
	if o.Limit > 0 {
		return o.Limit
	}
	return api.MaxJSON
}

// follows reports whether the operation tells what happens until its client leaves.
func (o Operation) follows() bool {
	return o.Lines != nil && o.Answer == nil && o.Body == nil && o.Bytes == ""
}
