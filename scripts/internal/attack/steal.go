package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/quic-go/quic-go"

	"wasmhost.example/identity"
)

// Messages of a migration: their first byte.
const (
	msgOffer    = 1
	msgAccept   = 2
	msgRefuse   = 3
	msgSnapshot = 6
	msgReady    = 7
	msgTail     = 8
	msgPrepared = 9
	msgRelease  = 10
	msgDone     = 11
	msgArrived  = 14
	msgBare     = 24
)

// offering is how a daemon is offered whose key the offerer does not have.
type offering byte

const (
	keyless    offering = iota // as one whose key the target has
	publicOnly                 // as one that is to sign nothing on the target
	keyed                      // as one whose key is to come with the hand-over
)

// steal moves a daemon that node two has to node one, from this peer, by a copy of its
// snapshot with the signatures left out and an epoch of its choice. It returns where
// node one refuses, or that it took the daemon.
func (p *peer) steal(ctx context.Context, s *scene, epoch uint64, how offering) (string, error) {
	two := s.nodes[1]
	if err := two.counter(ctx, "bank"); err != nil {
		return "", err
	}
	b, err := two.must(ctx, "GET", "/v1/daemons/bank/snapshot", nil)
	if err != nil {
		return "", err
	}
	forged, err := forge(b, epoch)
	if err != nil {
		return "", err
	}

	id := make([]byte, 16)
	offer := forged.offer(id, epoch, how == keyed)
	first := message(msgOffer, offer...)
	if how == publicOnly {
		first = message(msgBare, cborList(offer...), cborBool(true))
	}
	st, err := p.open(ctx, append([]byte{toMigrate}, first...))
	if err != nil {
		return "", err
	}
	for {
		kind, fields, err := readMessage(st)
		if err != nil {
			return "refused: " + err.Error(), nil
		}
		var answer []byte
		switch kind {
		case msgRefuse:
			return fmt.Sprintf("refused with code %v: %v", fields[0], fields[1]), nil
		case msgAccept:
			answer = message(msgSnapshot, cborBytes(forged.snapshot), cborBool(true))
		case msgArrived:
			continue
		case msgReady:
			answer = message(msgTail, cborUint(0), cborList(), cborBool(false), cborBool(false), cborBool(true))
		case msgPrepared:
			answer = p.release(id, forged, epoch+1, fields)
		case msgDone:
			return "took the daemon", nil
		default:
			return fmt.Sprintf("message %d: %v", kind, fields), nil
		}
		if _, err := st.Write(answer); err != nil {
			return "", err
		}
	}
}

// releaseEarly offers node one a daemon that node two has, and releases it over another
// stream when node one has accepted the offer. It returns what node one says of that.
func (p *peer) releaseEarly(ctx context.Context, s *scene) (string, error) {
	two := s.nodes[1]
	if err := two.counter(ctx, "bank"); err != nil {
		return "", err
	}
	b, err := two.must(ctx, "GET", "/v1/daemons/bank/snapshot", nil)
	if err != nil {
		return "", err
	}
	forged, err := forge(b, 1000)
	if err != nil {
		return "", err
	}

	id := make([]byte, 16)
	offered, err := p.open(ctx, append([]byte{toMigrate}, message(msgOffer, forged.offer(id, 1000, true)...)...))
	if err != nil {
		return "", err
	}
	if kind, fields, err := readMessage(offered); err != nil || kind != msgAccept {
		return "", fmt.Errorf("the offer was answered with message %d: %v: %w", kind, fields, err)
	}

	head := []any{uint64(1), nil, make([]byte, 32)}
	second, err := p.open(ctx, append([]byte{toMigrate}, p.release(id, forged, 1001, head)...))
	if err != nil {
		return "", err
	}
	kind, fields, err := readMessage(second)
	if err != nil {
		return "", err
	}
	if kind != msgRefuse {
		return fmt.Sprintf("message %d: %v", kind, fields), nil
	}
	return fmt.Sprintf("refused with code %v: %v", fields[0], fields[1]), nil
}

// release is an unsigned hand-over of what the target has prepared.
func (p *peer) release(id []byte, f *forgery, epoch uint64, prepared []any) []byte {
	sequence, head := cborOf(prepared[0]), cborOf(prepared[2])
	parties := binary.BigEndian.AppendUint64(nil, uint64(identity.EntityID(p.id()).Node()))
	parties = binary.BigEndian.AppendUint64(parties, uint64(identity.EntityID(p.target).Node()))
	check := cborList(cborUint(3), cborBytes(f.entity), cborUint(epoch), sequence, head, cborBytes(parties), cborBytes(nil))
	return message(msgRelease, cborBytes(id), cborBytes(f.entity), cborUint(epoch), sequence, head, cborBytes(check), cborBytes(nil))
}

// forgery is a snapshot without its signature.
type forgery struct{ snapshot, entity, module []byte }

// offer are the fields of an offer of the daemon.
func (f *forgery) offer(id []byte, epoch uint64, withKey bool) [][]byte {
	return [][]byte{cborUint(2), cborBytes(id), cborBytes(f.entity), cborText("bank"), cborText("counter"), cborBytes(f.module),
		cborUint(0), cborUint(epoch), cborBool(withKey), cborUint(0), cborBool(false), cborBool(false), cborMap()}
}

// forge sets a snapshot's epoch and leaves its signature out.
func forge(b []byte, epoch uint64) (*forgery, error) {
	var parts []any
	if err := cbor.Unmarshal(b, &parts); err != nil || len(parts) != 3 {
		return nil, fmt.Errorf("a snapshot of %d parts: %w", len(parts), err)
	}
	header, ok1 := parts[0].([]any)
	check, ok2 := parts[1].([]any)
	if !ok1 || !ok2 || len(header) < 7 || len(check) != 7 {
		return nil, fmt.Errorf("a snapshot of another form")
	}
	header[6], check[2] = epoch, epoch
	sum := sha256.Sum256(cborOf(header))
	check[5], check[6] = sum[:], []byte{}
	f := &forgery{snapshot: cborOf(parts)}
	f.entity, ok1 = header[1].([]byte)
	f.module, ok2 = header[4].([]byte)
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("a snapshot of another form")
	}
	return f, nil
}

// message is one of a migration, framed.
func message(kind byte, fields ...[]byte) []byte {
	return frame(append([]byte{kind}, cborList(fields...)...))
}

func readMessage(st *quic.Stream) (kind byte, fields []any, err error) {
	b, err := readFrame(st)
	if err != nil || len(b) == 0 {
		return 0, nil, fmt.Errorf("the stream ended: %w", err)
	}
	fields, err = list(b[1:])
	return b[0], fields, err
}
