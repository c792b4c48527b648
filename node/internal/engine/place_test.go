package engine

import (
	"log/slog"
	"net"
	"testing"

	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// TestAMemberIsPlacedWhereItsMachineIs starts members of a cluster's directory again that
// are kept as reached at some address.
func TestAMemberIsPlacedWhereItsMachineIs(t *testing.T) {
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	mesh, err := wire.Listen(t.Context(), wire.Config{Identity: key, Addr: "0.0.0.0:0", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	defer mesh.Close()
	here, _, err := net.SplitHostPort(mesh.Reach())
	if err != nil {
		t.Fatal(err)
	}
	const elsewhere = "192.0.2.1" // of nobody (RFC 5737)
	other, err := net.Listen("tcp", net.JoinHostPort(here, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := other.Addr().String()
	free := func() string {
		l, err := net.Listen("tcp", net.JoinHostPort(here, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	was, told := free(), free()
	for name, c := range map[string]struct {
		told, addr, reach string
		node              string // where the node was
		moves             bool
	}{
		"where it was":                         {"", here + ":7433", here + ":7433", "", false},
		"at all addresses, where it was":       {"", "0.0.0.0:7433", here + ":7433", "", false},
		"told so, where it was":                {"0.0.0.0:7433", "0.0.0.0:7433", here + ":7433", "", false},
		"on another machine":                   {"", elsewhere + ":7433", elsewhere + ":7433", "", true},
		"at all addresses, on another machine": {"", "0.0.0.0:7433", elsewhere + ":7433", "", true},
		"told so, on another machine":          {"0.0.0.0:0", "0.0.0.0:7433", elsewhere + ":7433", "", true},
		"told another host":                    {"127.0.0.1:0", here + ":7433", here + ":7433", "", here != "127.0.0.1"},
		"told another port of its machine":     {told, was, was, "", true},
		"told another port, at all addresses":  {"0.0.0.0:7434", "0.0.0.0:7433", here + ":7433", "", true},
		"told any port":                        {here + ":0", was, was, "", false},
		"the node has another port":            {"", was, was, here + ":1", true},
		"the node has the port that it had":    {"", was, was, mesh.Addr().String(), false},
		"another program has its port":         {"", taken, taken, "", true},
	} {
		dir := t.TempDir()
		e := &Engine{o: Options{Listen: c.told}, mesh: mesh, logger: logger}
		st := &state{Addr: c.addr, Reach: c.reach, Node: c.node}
		moved, err := e.placeMember(dir, st)
		if err != nil || moved != c.moves {
			t.Errorf("%s: moved %v, %v", name, moved, err)
			continue
		}
		if !moved {
			if st.Addr != c.addr || st.Reach != c.reach {
				t.Errorf("%s: it is at %s, reached at %s", name, st.Addr, st.Reach)
			}
			continue
		}
		kept, err := readState(dir)
		if err != nil || kept.Addr != st.Addr || kept.Reach != st.Reach {
			t.Errorf("%s: it is kept as %+v, %v", name, kept, err)
		}
		if st.Addr == c.addr || c.told == told && st.Addr != told {
			t.Errorf("%s: it was at %s, told %q, and is at %s", name, c.addr, c.told, st.Addr)
		}
		if host, _, err := net.SplitHostPort(st.Reach); err != nil || host == elsewhere {
			t.Errorf("%s: it is reached at %s, %v", name, st.Reach, err)
		}
	}
	if _, err := (&Engine{}).placeMember("", &state{Addr: "here", Reach: "there"}); err == nil {
		t.Error("addresses that are none are taken")
	}
}
