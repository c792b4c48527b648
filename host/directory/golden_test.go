package directory

import (
	"testing"

	"wasmhost.example/internal/canon/canontest"
)

func TestRecordsAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version1.txt", &daemonRecord{Version: recordVersion}, &nodeRecord{Version: recordVersion}, &nameRecord{Version: recordVersion}, &grantRecord{Version: recordVersion}, &removalRecord{Version: recordVersion})
	canontest.Golden(t, "testdata/golden/group1.txt", &groupRecord{Version: recordVersion})
}

func TestMessagesAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/protocol1.txt", &Request{Version: ProtocolVersion}, &Answer{Version: ProtocolVersion})
}
