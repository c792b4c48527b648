package migration

import (
	"testing"

	"wasmhost.example/internal/canon/canontest"
)

func TestMessagesAreAsTheyWere(t *testing.T) {
	canontest.Golden(t, "testdata/golden/version2.txt", &Offer{Version: Version}, &Accept{}, &Refuse{}, &ModuleChunk{}, &HistoryBatch{}, &SnapshotChunk{}, &Blocks{}, &Memory{},
		&Arrived{}, &Ready{}, &Tail{}, &Caught{}, &Prepared{}, &Release{}, &Done{}, &Receipts{}, &Receipt{}, &Ask{}, &Hold{}, &Order{Version: Version}, &Step{}, &Outcome{}, &BareOffer{}, &Holds{})
	canontest.Golden(t, "testdata/golden/version3.txt", &Earlier{}, &EarlierWanted{}, &EarlierChunk{})
}
