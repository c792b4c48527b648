package wire

import (
	"errors"
	"strings"
	"testing"

	"wasmhost.example/host/directory"
	"wasmhost.example/wire/trust"
)

// TestARefusalComesBeforeTheRequest has a node refuse a request and read nothing of it
// before it is written: the refusal counts, not that the request was cut.
func TestARefusalComesBeforeTheRequest(t *testing.T) {
	v := newMesh(t, Config{Name: "without a vote"})
	peer := newMesh(t, Config{Name: "peer"})
	joinWith(t, peer, v, trust.RightRead)
	stream, err := peer.open(t.Context(), v.Self(), purposeDirectory)
	if err != nil {
		t.Fatal(err)
	}
	<-stream.Context().Done() // the node reads no more

	s := directoryRequest("a request").writeTo(t.Context(), stream, v.Self())
	defer s.close()
	if s.cut == nil {
		t.Error("the request went out whole")
	}
	a, err := s.read()
	if err == nil {
		err = a.Err()
	}
	if !errors.Is(err, directory.ErrEngine) || !strings.Contains(err.Error(), "has no vote") {
		t.Errorf("got %v, want that it has no vote", err)
	}
}
