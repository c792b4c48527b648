package channel

import (
	"testing"

	"wasmhost.example/internal/canon/canontest"
)

func TestMessagesAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version1.txt", &Open{}, &Subscribe{}, &Accepted{}, &Refused{}, &Unsubscribe{}, &Released{}, &Events{}, &Gap{}, &Moved{}, &Cursors{},
		&Window{}, &Fetch{}, &Publish{}, &Published{}, &Revocations{}, &Carry{}, &Carriage{}, &Carried{}, &Locate{}, &Located{}, &Standings{}, &Further{}, &Testify{}, &Testified{}, &Calls{}, &Replies{})
}
