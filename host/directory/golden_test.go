package directory

import (
	"testing"

	"wasmhost/wire/canon/canontest"
)

func TestRecordsAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version1.txt", &daemonRecord{Version: recordVersion}, &nodeRecord{Version: recordVersion}, &nameRecord{Version: recordVersion})
}
