package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
)

// answerCost is what an answer to a query takes beside its payload, of the budget of answers.
const answerCost = 512

// postQuery asks the daemon, which is here, what the body is.
func (s *Server) postQuery(w http.ResponseWriter, r *http.Request) error {
	question, err := web.ReadAll(w, r, api.MaxEvent)
	if err != nil {
		return err
	}
	room, leave := s.guard.AnswerRoom(r.Context())
	defer leave()
	id := web.Entity(r)
	i, err := s.rt.Daemons().Inspect(id)
	if err != nil {
		return err
	}
	hold, err := room.Reserve(r.Context(), min(answerCost+int64(i.Limits.OutputBytes), room.Limit()))
	if err != nil {
		return err
	}
	defer hold.Done()

	a, err := s.rt.Daemons().Query(r.Context(), id, question)
	if err != nil {
		return err
	}
	hold.Set(answerCost + int64(len(a.Payload)))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(web.Guard(w, room).Writer(w)).Encode(answerOf(a)) // the client is gone if this fails
	return nil
}

// answerOf shows an answer.
func answerOf(a daemon.Answer) api.Answer {
	out := api.Answer{Payload: base64.StdEncoding.EncodeToString(a.Payload), Applied: a.Applied, Sequence: a.Sequence, Epoch: a.Epoch}
	if utf8.Valid(a.Payload) {
		text := string(a.Payload)
		out.Text = &text
	}
	return out
}
