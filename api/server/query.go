package server

import (
	"encoding/json"
	"net/http"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/api/server/internal/web"
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
	_ = json.NewEncoder(web.Guard(w, room).Writer(w)).Encode(convert.AnswerOf(a)) // the client is gone if this fails
	return nil
}
