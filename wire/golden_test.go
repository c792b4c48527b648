package wire

import (
	"testing"

	"wasmhost/internal/canon/canontest"
)

func TestMessagesAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version1.txt", &hello{Version: protocolVersion}, &openEvents{}, &eventFrame{}, &replyFrame{}, &Token{Version: tokenVersion})
}
