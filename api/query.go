package api

// Answer is what a daemon answers a query, and of which state.
type Answer struct {
	Text    *string `json:"text,omitempty"` // when the payload is UTF-8
	Payload string  `json:"payload"`        // base64

	Applied  uint64 `json:"applied"`  // events that the daemon had applied
	Sequence uint64 `json:"sequence"` // of its last output
	Epoch    uint64 `json:"epoch"`
}
