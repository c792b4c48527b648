package identity

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"wasmhost.example/internal/canon"
)

func key(t testing.TB) *KeyPair {
	t.Helper()
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	if s == "-" {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVerifyAgreesWithWycheproof(t *testing.T) {
	f, err := os.Open("testdata/wycheproof_ed25519.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for in := bufio.NewScanner(f); in.Scan(); {
		field := strings.Fields(in.Text())
		if field[0] == "#" {
			continue
		}
		n++
		err := Verify(EntityID(unhex(t, field[1])), unhex(t, field[2]), unhex(t, field[3]))
		if valid := field[4] == "valid"; valid != (err == nil) {
			t.Errorf("test %s: %v, want %s", field[0], err, field[4])
		}
		if err != nil && !errors.Is(err, ErrInvalidSignature) {
			t.Errorf("test %s: an untyped error %v", field[0], err)
		}
	}
	if n != 151 {
		t.Errorf("%d tests", n)
	}
}

func TestVerifyRefusesKeysOfSmallOrder(t *testing.T) {
	// Under the point of order 1, R = identity and S = 0 verify for any message.
	id := EntityID{1}
	sig := make([]byte, 64)
	sig[0] = 1
	if err := Verify(id, []byte("anything"), sig); !errors.Is(err, ErrInvalidSignature) {
		t.Errorf("got %v", err)
	}
	id[31] |= 0x80
	if err := Verify(id, []byte("anything"), sig); !errors.Is(err, ErrInvalidSignature) {
		t.Errorf("with the sign bit: %v", err)
	}
}

// The projections are what they are for ever: they are on disks and screens. A
// daemon's and a node's of the same key are no kin.
func TestC43_F109_ProjectionsAreFixed(t *testing.T) {
	k, err := FromSeed(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	seal, err := k.SealKey()
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%s %s %s %x", k.ID(), k.ID().Origin(), k.ID().Node(), seal)
	const want = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c " +
		"31e5d41f35027c50 c5b2995980d7bfd3 708722e22b386c25e7f29e9d295ceae08c5aed13789e8e7e32e1888c07d0dc62"
	if got != want {
		t.Errorf("got %s", got)
	}
	if uint64(k.ID().Origin()) == uint64(k.ID().Node()) {
		t.Error("origin and node are the same projection")
	}
}

func TestI01_I02_I03_Seeds(t *testing.T) {
	a, b := key(t), key(t)
	if a.ID() == b.ID() {
		t.Error("two identities are the same")
	}
	seed, err := a.Seed()
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromSeed(seed)
	if err != nil || c.ID() != a.ID() || c.ID().Node() != a.ID().Node() || c.ID().Origin() != a.ID().Origin() {
		t.Errorf("imported %v, %v", c, err)
	}
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := FromSeed(make([]byte, n)); !errors.Is(err, ErrMalformed) {
			t.Errorf("seed of %d bytes: %v", n, err)
		}
	}
}

func TestI04_I05_Signatures(t *testing.T) {
	k := key(t)
	for _, msg := range [][]byte{nil, []byte("x"), make([]byte, 100_000)} {
		sig, err := k.Sign(msg)
		if err != nil || len(sig) != 64 || Verify(k.ID(), msg, sig) != nil {
			t.Errorf("%d bytes: %x, %v", len(msg), sig, err)
		}
		if err := Verify(k.ID(), append([]byte("y"), msg...), sig); !errors.Is(err, ErrInvalidSignature) {
			t.Errorf("another message: %v", err)
		}
		if err := Verify(key(t).ID(), msg, sig); !errors.Is(err, ErrInvalidSignature) {
			t.Errorf("another key: %v", err)
		}
	}
	sig, err := k.SignDomain("a", []byte("bc"))
	if err != nil {
		t.Fatal(err)
	}
	if VerifyDomain(k.ID(), "a", []byte("bc"), sig) != nil {
		t.Error("does not verify in its own domain")
	}
	if VerifyDomain(k.ID(), "ab", []byte("c"), sig) == nil || Verify(k.ID(), []byte("abc"), sig) == nil {
		t.Error("verifies in another domain")
	}
}

func TestI06_I07_F91_PublicOnlyAndWipe(t *testing.T) {
	k := key(t)
	id := k.ID()
	p := PublicOnly(id)
	for range 2 {
		if p.ID() != id || p.CanSign() || p.Clone().CanSign() {
			t.Error("not public-only")
		}
		for what, err := range map[string]error{"sign": second(p.Sign(nil)), "seed": second(p.Seed()), "private": second(p.Private()), "seal key": second(p.SealKey())} {
			if !errors.Is(err, ErrReadOnly) {
				t.Errorf("%s: %v", what, err)
			}
		}
		k.Wipe()
		k.Wipe()
		p = k
	}
	k = key(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if _, err := k.Sign([]byte("x")); err != nil && !errors.Is(err, ErrReadOnly) {
					t.Error(err)
				}
			}
		})
	}
	k.Wipe()
	wg.Wait()
}

func second[T any](_ T, err error) error { return err }

func TestNothingPrintsTheSecret(t *testing.T) {
	k := key(t)
	seed, err := k.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{k, struct{ K *KeyPair }{k}, []*KeyPair{k}} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, hex.EncodeToString(seed)) || strings.Contains(out, fmt.Sprint(seed)) {
				t.Errorf("%s prints the secret", verb)
			}
		}
	}
}

func TestR22_F21_Names(t *testing.T) {
	id := key(t).ID()
	if got, err := ParseEntityID(id.String()); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseNodeID(id.Node().String()); err != nil || got != id.Node() {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseOriginHash(id.Origin().String()); err != nil || got != id.Origin() {
		t.Errorf("%v, %v", got, err)
	}
	for _, o := range []OriginHash{0, 1 << 32, 1<<64 - 1, 0xb351dd87124ec8e0} { // R22: all 64 bits
		b, err := o.MarshalText()
		var again OriginHash
		if err := errors.Join(err, again.UnmarshalText(b)); err != nil || again != o || len(b) != 16 {
			t.Errorf("%s, %v", b, err)
		}
	}
	for _, bad := range []string{"", "zz", id.String()[1:], id.String() + "00", strings.Repeat("g", 64), strings.Repeat("g", 16)} {
		_, e1 := ParseEntityID(bad)
		_, e2 := ParseNodeID(bad)
		if !errors.Is(e1, ErrMalformed) || !errors.Is(e2, ErrMalformed) {
			t.Errorf("%q: %v, %v", bad, e1, e2)
		}
	}
	b, err := canon.Marshal(id)
	if err != nil || len(b) != 34 || b[0] != 0x58 || b[1] != 32 {
		t.Errorf("as CBOR: %x, %v", b, err)
	}
}

func TestI10_to_I19_F81_F82_F83_Envelope(t *testing.T) {
	daemon, node, link := key(t), key(t), []byte("a link")
	target, err := node.SealKey()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Seal(daemon, target, link)
	if err != nil {
		t.Fatal(err)
	}
	b := e.Bytes()
	if len(b) != 209 || b[0] != 1 { // I10
		t.Fatalf("%d bytes, version %d", len(b), b[0])
	}
	for what, bad := range map[string][]byte{"version 0": append([]byte{0}, b[1:]...), "version 255": append([]byte{255}, b[1:]...),
		"short": b[:208], "trailing": append(bytes.Clone(b), 0), "empty": nil} { // I11
		if _, err := ParseEnvelope(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	open := func(b []byte, node *KeyPair, link []byte, expect EntityID) (*KeyPair, error) {
		e, err := ParseEnvelope(b)
		if err != nil {
			t.Fatal(err)
		}
		return e.Open(node, link, expect)
	}
	got, err := open(b, node, link, daemon.ID()) // I12
	if err != nil || got.ID() != daemon.ID() || !got.CanSign() {
		t.Fatalf("%v, %v", got, err)
	}
	flip := func(at int) []byte {
		c := bytes.Clone(b)
		c[at] ^= 1
		return c
	}
	for _, tc := range []struct {
		row  string
		b    []byte
		node *KeyPair
		link string
		who  EntityID
		want error
	}{
		{"I13 signature changed", flip(208), node, "a link", daemon.ID(), ErrInvalidAttestation},
		{"I14 ciphertext changed", flip(70), node, "a link", daemon.ID(), ErrInvalidAttestation},
		{"I15 another node", b, key(t), "a link", daemon.ID(), ErrSealOpen},
		{"I16 another link", b, node, "another link", daemon.ID(), ErrInvalidAttestation},
		{"I17 target rewritten", flip(5), node, "a link", daemon.ID(), ErrInvalidAttestation},
		{"I18 another signer", b, node, "a link", key(t).ID(), ErrInvalidSigner},
		{"public-only node", b, PublicOnly(node.ID()), "a link", daemon.ID(), ErrReadOnly},
	} {
		if k, err := open(tc.b, tc.node, []byte(tc.link), tc.who); !errors.Is(err, tc.want) || k != nil {
			t.Errorf("%s: %v, want %v", tc.row, err, tc.want)
		}
	}
	// F81: the ciphertext is bound to the link too, whatever is signed.
	moved, elsewhere := *e, []byte("another link")
	sig, err := daemon.SignDomain(envelopeSignDomain, moved.attested(elsewhere))
	if err != nil {
		t.Fatal(err)
	}
	moved.signature = [64]byte(sig)
	if k, err := moved.Open(node, elsewhere, daemon.ID()); !errors.Is(err, ErrSealOpen) || k != nil {
		t.Errorf("F81: %v, %v", k, err)
	}
	if _, err := Seal(PublicOnly(daemon.ID()), target, link); !errors.Is(err, ErrReadOnly) { // I19
		t.Errorf("I19: %v", err)
	}
	if _, err := Seal(daemon, SealKey{}, link); err == nil {
		t.Error("sealed to a key of low order")
	}
}

func TestKeyFiles(t *testing.T) {
	dir, k := t.TempDir(), key(t)
	plain, locked := filepath.Join(dir, "plain"), filepath.Join(dir, "locked")
	if err := errors.Join(WriteKeyFile(plain, k, nil), WriteKeyFile(locked, k, []byte("open sesame"))); err != nil {
		t.Fatal(err)
	}
	for path, pass := range map[string]string{plain: "", locked: "open sesame"} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
		if got, err := ReadKeyFile(path, []byte(pass)); err != nil || got.ID() != k.ID() || !got.CanSign() {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := WriteKeyFile(plain, key(t), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwriting: %v", err)
	}
	if _, err := ReadKeyFile(locked, nil); !errors.Is(err, ErrPassphraseNeeded) {
		t.Errorf("no passphrase: %v", err)
	}
	if _, err := ReadKeyFile(locked, []byte("open barley")); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if err := os.Chmod(plain, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeyFile(plain, nil); !errors.Is(err, ErrKeyFilePermissions) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open to others: %v", err)
	}
	if _, err := ReadKeyFile(dir, nil); err == nil {
		t.Error("a folder was read")
	}
}

func TestKeyFileRefusals(t *testing.T) {
	k := key(t)
	good, err := EncodeKey(k, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string][]byte{"empty": nil, "text": []byte("hello"), "cut": good[:len(good)/2], "twice": append(bytes.Clone(good), good...),
		"large": bytes.Repeat([]byte("x"), 5000), "another kind": bytes.ReplaceAll(good, []byte("WASMHOST"), []byte("OPENSSH"))} {
		if _, err := DecodeKey(bad, nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := kdfParams{Time: 17, Memory: 64, Threads: 1, Salt: make([]byte, 16)}
	for _, bad := range []kdfParams{p, {Time: 1, Memory: 2 << 20, Threads: 1, Salt: p.Salt}, {Time: 0, Memory: 64, Threads: 1, Salt: p.Salt},
		{Time: 1, Memory: 64, Threads: 0, Salt: p.Salt}, {Time: 1, Memory: 64, Threads: 1}, {Time: 16, Memory: 1 << 20, Threads: 1, Salt: p.Salt}} {
		if bad.check() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func FuzzParseEnvelope(f *testing.F) {
	daemon, node := key(f), key(f)
	target, err := node.SealKey()
	if err != nil {
		f.Fatal(err)
	}
	e, err := Seal(daemon, target, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEnvelope(b)
		if err != nil {
			return
		}
		if !bytes.Equal(e.Bytes(), b) {
			t.Error("another form")
		}
		if _, err := e.Open(node, []byte("link"), daemon.ID()); err == nil {
			t.Error("opened")
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	b, err := EncodeKey(key(f), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := DecodeKey(b, nil); err == nil && !k.CanSign() {
			t.Error("a key without a key")
		}
	})
}
