package directory

import (
	"bytes"
	"testing"
	"time"

	"wasmhost.example/identity"
)

func someKey(t testing.TB) identity.EntityID {
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k.ID()
}

func FuzzDecodeDaemon(f *testing.F) {
	d := Daemon{Entity: someKey(f), Name: "c1", Owner: 7, Epoch: 3, Want: 2, Ack: AckDisk}.With(9).With(8)
	b, err := d.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := decodeDaemon(b)
		if err != nil {
			return
		}
		again, err := d.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}

func FuzzDecodeNode(f *testing.F) {
	n := Node{Key: someKey(f), Name: "a", Addr: "127.0.0.1:1", TTL: 2 * time.Second}
	b, err := n.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNode(b)
		if err != nil {
			return
		}
		again, err := n.encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}

func FuzzDecodeName(f *testing.F) {
	b, err := encodeName(someKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := decodeName(b)
		if err != nil {
			return
		}
		again, err := encodeName(id)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}

func TestRecordsOutOfBoundsAreRefused(t *testing.T) {
	good := Daemon{Entity: someKey(t), Owner: 7, Epoch: 1}
	for name, d := range map[string]Daemon{
		"no owner": {Entity: good.Entity, Epoch: 1},
		"no epoch": {Entity: good.Entity, Owner: 7},
		"unsorted": {Entity: good.Entity, Owner: 7, Epoch: 1, Standbys: []identity.NodeID{9, 8}},
		"twice":    {Entity: good.Entity, Owner: 7, Epoch: 1, Standbys: []identity.NodeID{8, 8}},
		"too many": {Entity: good.Entity, Owner: 7, Epoch: 1, Want: MaxStandbys + 1},
	} {
		b, err := d.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeDaemon(b); err == nil {
			t.Errorf("%s: a record was taken that is out of bounds", name)
		}
	}
}

func FuzzDecodeGroup(f *testing.F) {
	b, err := encodeGroup(7)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		keeper, err := decodeGroup(b)
		if err != nil {
			return
		}
		if again, err := encodeGroup(keeper); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x decodes to what encodes to %x, %v", b, again, err)
		}
	})
}
