package wire

import (
	"testing"

	"wasmhost.example/internal/canon/canontest"
	"wasmhost.example/wire/trust"
)

func TestMessagesAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version1.txt", &hello{Version: protocolVersion}, &openEvents{}, &eventFrame{}, &replyFrame{}, &trust.Token{Version: trust.TokenVersion})
}
