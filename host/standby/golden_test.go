package standby

import (
	"testing"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon/canontest"
)

func TestMessagesAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version1.txt", &Follow{Version: Version}, &Have{}, &Refuse{}, &Module{}, &Reset{}, &Record{},
		&Batch{Parts: []store.Part{store.RecordPart(identity.EntityID{7}, 9, []byte("record")), store.StatePart(store.Snapshots, []byte("key"), []byte("state"))}}, &Held{}, &File{}, &Compare{Nonce: make([]byte, NonceSize)}, &Stands{}, &Proof{})
	canontest.Golden(t, "testdata/golden/version3.txt", &Facts{}, &Need{}, &Earlier{})
	canontest.Golden(t, "testdata/golden/version4.txt", &State{Parts: []HeldPart{{Table: 's', Key: []byte{}, Sum: make([]byte, 32)}}})
}
