package main

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// channels is one event of 64 bytes from a node's channel to a counter in C on
// another node, chained, both nodes in memory; beside it the same bytes through a
// bare QUIC stream with buffered writes.
var channels = comparison{name: "channel", n: 200_000, setup: func(root string) ([]contender, func() error, error) {
	bare, closeBare, err := bareStream()
	if err != nil {
		return nil, nil, err
	}
	one, closeOne, err := channelTo(root, "c/counter.wasm", 1, true)
	if err != nil {
		return nil, nil, err
	}
	plain, closePlain, err := channelTo(root, "c/counter.wasm", 1, false)
	if err != nil {
		return nil, nil, err
	}
	return []contender{
		{name: "quic-go alone: one stream, buffered writes", run: bare},
		{name: "a channel to one daemon on another node, --ephemeral", run: one},
		{name: "the same without a store, as a library can", run: plain},
	}, func() error { return errors.Join(closeBare(), closeOne(), closePlain()) }, nil
}}

// crowd is what one event costs, by the number of daemons of one node that hear
// it, without a store.
var crowd = comparison{name: "channel-crowd", n: 2_000, setup: func(root string) ([]contender, func() error, error) {
	var out []contender
	var closers []func() error
	for _, n := range []int{1, 100, 1000} {
		run, done, err := channelTo(root, "c/counter.wasm", n, false)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, contender{name: fmt.Sprintf("a channel to %d daemons of one node", n), run: run})
		closers = append(closers, done)
	}
	return out, func() error {
		var err error
		for _, c := range closers {
			err = errors.Join(err, c())
		}
		return err
	}, nil
}}

const channelEvent = 64

// quicPair is a QUIC connection over loopback: who listens, and who dialled.
func quicPair() (*quic.Listener, *quic.Conn, error) {
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(nil, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, pub, priv)
	if err != nil {
		return nil, nil, err
	}
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: priv}}, NextProtos: []string{"bench"}}
	l, err := quic.ListenAddr("127.0.0.1:0", server, nil)
	if err != nil {
		return nil, nil, err
	}
	c, err := quic.DialAddr(ctx, l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"bench"}}, nil)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	return l, c, nil
}

// bareStream sends messages over a QUIC stream of its own.
func bareStream() (func(int) error, func() error, error) {
	l, c, err := quicPair()
	if err != nil {
		return nil, nil, err
	}
	read := make(chan error, 1)
	messages := make(chan int)
	go func() {
		c, err := l.Accept(ctx)
		if err != nil {
			read <- err
			return
		}
		s, err := c.AcceptStream(ctx)
		if err != nil {
			read <- err
			return
		}
		r, buf := bufio.NewReaderSize(s, 64<<10), make([]byte, channelEvent)
		for n := range messages {
			for range n {
				if _, err = io.ReadFull(r, buf); err != nil {
					break
				}
			}
			read <- err
		}
	}()
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, nil, err
	}
	w, message := bufio.NewWriterSize(s, 64<<10), make([]byte, channelEvent)
	run := func(n int) error {
		sent := make(chan error, 1)
		go func() {
			for range n {
				if _, err := w.Write(message); err != nil {
					sent <- err
					return
				}
			}
			sent <- w.Flush()
		}()
		messages <- n
		return errors.Join(<-sent, <-read)
	}
	return run, func() error { close(messages); return errors.Join(c.CloseWithError(0, ""), l.Close()) }, nil
}

type benchNode struct {
	rt   *host.Runtime
	mesh *wire.Mesh
	done func() error
}

func newBenchNode(stored bool) (*benchNode, error) {
	key, err := identity.Generate()
	if err != nil {
		return nil, err
	}
	mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Addr: "127.0.0.1:0"})
	if err != nil {
		return nil, err
	}
	o := host.Options{Node: key, Mesh: mesh}
	closeStore := func() error { return nil }
	if stored {
		if o.Store, err = store.Open(store.Options{Ephemeral: true}); err != nil {
			return nil, err
		}
		closeStore = o.Store.Close
	}
	rt, err := host.New(ctx, o)
	if err == nil {
		err = rt.Start(ctx)
	}
	if err != nil {
		return nil, err
	}
	return &benchNode{rt, mesh, func() error { return errors.Join(rt.Shutdown(ctx), mesh.Close(), closeStore()) }}, nil
}

// channelTo publishes on one node for daemons of another, until all have applied
// what was published.
func channelTo(root, file string, daemons int, stored bool) (func(int) error, func() error, error) {
	wasm, err := guest(root, file)
	if err != nil {
		return nil, nil, err
	}
	a, err := newBenchNode(stored)
	if err != nil {
		return nil, nil, err
	}
	b, err := newBenchNode(stored)
	if err != nil {
		return nil, nil, err
	}
	token, err := a.mesh.Token(time.Minute, trust.RightsAll)
	if err == nil {
		_, err = b.mesh.Join(ctx, token)
	}
	if err == nil {
		_, err = a.rt.Channels().Create(ctx, "bench", broker.Policy{})
	}
	if err == nil {
		_, err = b.rt.Kinds().Push(ctx, "counter", wasm)
	}
	if err != nil {
		return nil, nil, err
	}
	var ids []identity.EntityID
	for range daemons {
		d, err := b.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
		if err == nil {
			err = b.rt.Subscriptions().Subscribe(ctx, d.Entity, a.mesh.Self(), "bench", nil)
		}
		if err != nil {
			return nil, nil, err
		}
		ids = append(ids, d.Entity)
	}
	total := uint64(0)
	run := func(n int) error {
		payloads := make([][]byte, 256)
		for i := range payloads {
			payloads[i] = bytes.Repeat([]byte{'x'}, channelEvent)
		}
		for left := n; left > 0; left -= len(payloads) {
			payloads = payloads[:min(left, len(payloads))]
			if _, err := a.rt.Channels().Submit("bench", identity.EntityID{}, payloads...); err != nil {
				return err
			}
			for left%20_000 < len(payloads) { // as a publisher does that does not want its subscribers to miss any
				list, err := b.rt.Subscriptions().Of(ids[0])
				if err != nil {
					return err
				}
				if total+uint64(n-left)-list[0].Cursor < 50_000 {
					break
				}
				time.Sleep(5 * time.Millisecond) // who asks takes the daemon's lock
			}
		}
		total += uint64(n)
		for _, id := range ids {
			for {
				list, err := b.rt.Subscriptions().Of(id)
				if err != nil {
					return err
				}
				if list[0].Cursor == total {
					break
				}
				time.Sleep(500 * time.Microsecond)
			}
		}
		return nil
	}
	return run, func() error { return errors.Join(b.done(), a.done()) }, nil
}
