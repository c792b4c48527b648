package convert

import (
	"encoding/base64"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
)

// AnswerOf shows an answer.
func AnswerOf(a daemon.Answer) api.Answer {
	out := api.Answer{Payload: base64.StdEncoding.EncodeToString(a.Payload), Applied: a.Applied, Sequence: a.Sequence, Epoch: a.Epoch}
	if utf8.Valid(a.Payload) {
		text := string(a.Payload)
		out.Text = &text
	}
	return out
}
