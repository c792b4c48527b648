package host_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"wasmhost.example/host"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/standby"
)

// TestANodeOfNoClusterIsNobodysStandby has a peer ask such a node to stand by, and then
// open a stream and say nothing, which must not outlive the node.
func TestANodeOfNoClusterIsNobodysStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := &hosttest.Net{}
		key, other := newKey(t), newKey(t)
		mesh, err := net.Join(key)
		if err != nil {
			t.Fatal(err)
		}
		from, err := net.Join(other)
		if err != nil {
			t.Fatal(err)
		}
		rt := quietHost(t, nil, host.Options{Node: key, Mesh: mesh})
		peer, err := from.Peer(rt.Self())
		if err != nil {
			t.Fatal(err)
		}

		conn, err := peer.OpenStandby(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := standby.SendNow(conn, &standby.Follow{Version: standby.Version, Entity: someone(t), Epoch: 1, Module: []byte{}}); err != nil {
			t.Fatal(err)
		}
		msg, err := conn.Recv()
		if refuse, ok := msg.(*standby.Refuse); err != nil || !ok || !strings.Contains(refuse.Text, "no member of a cluster") {
			t.Errorf("asked to stand by: got %#v, %v, want a refusal", msg, err)
		}

		silent, err := peer.OpenStandby(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, err := silent.Recv()
			ended <- err
		}()
		synctest.Wait()
		if err := rt.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-ended:
			if err == nil {
				t.Error("the silent stream was answered")
			}
		default:
			t.Error("the silent stream goes on after Shutdown")
			silent.Abort()
			<-ended
		}
	})
}
