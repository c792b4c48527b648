package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"wasmhost.example/host/directory/etcd"
	"wasmhost.example/host/store"
)

// placeMember gives a member that was elsewhere before an address here, and reports
// whether it has another now. It stays where it was unless it is told another host or
// port, the node itself has another port, or the address is taken or is none of this
// machine's.
func (e *Engine) placeMember(dir string, st *state) (bool, error) {
	stays, err := e.memberStays(st)
	if stays || err != nil {
		return false, err
	}
	if st.Addr, st.Reach, err = e.memberAddr(); err != nil {
		return false, err
	}
	st.Node = e.mesh.Addr().String()
	e.logger.Info("the node's part in the cluster's directory has another address", "address", st.Reach)
	return true, writeState(dir, st)
}

// memberStays reports whether the member can be where it was.
func (e *Engine) memberStays(st *state) (bool, error) {
	host, port, err := net.SplitHostPort(st.Addr)
	reach, _, reachErr := net.SplitHostPort(st.Reach)
	if err := errors.Join(err, reachErr); err != nil {
		return false, fmt.Errorf("reading the node's part in its cluster: %w", err)
	}
	toldHost, toldPort, _ := net.SplitHostPort(e.o.Listen) // empty: it is not told
	if toldHost != "" && toldHost != host || toldPort != "" && toldPort != "0" && toldPort != port {
		return false, nil
	}
	if _, was, err := net.SplitHostPort(st.Node); err == nil && e.o.Listen == "" {
		if _, now, err := net.SplitHostPort(e.mesh.Addr().String()); err == nil && now != was {
			return false, nil // the member is at the node's port, where that is free
		}
	}
	for _, addr := range []string{net.JoinHostPort(reach, "0"), st.Addr} {
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE) {
			return false, nil
		}
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			return false, fmt.Errorf("looking whether the member of the cluster's directory can be at %s: %w", st.Reach, err)
		}
	}
	return true, nil
}

// memberAddr is where the node's member is to listen: as was said, or else at the
// address of the node, by TCP.
func (e *Engine) memberAddr() (addr, reach string, err error) {
	if addr = e.o.Listen; addr == "" {
		addr = e.mesh.Addr().String()
	}
	l, err := net.Listen("tcp", addr)
	if err != nil && e.o.Listen == "" { // a port that the system picked for UDP may be taken
		host, _, _ := net.SplitHostPort(addr) // it is an address
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return "", "", fmt.Errorf("listening for the cluster's members: %w", err)
	}
	addr = l.Addr().String()
	if err := l.Close(); err != nil {
		return "", "", err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, _, err = net.SplitHostPort(e.mesh.Reach()); err != nil {
			return "", "", err
		}
	}
	return addr, net.JoinHostPort(host, port), nil
}

func (e *Engine) startMember(dir string, st *state) (*etcd.Member, error) {
	secret, err := st.secret(e.o.Key)
	if err != nil {
		return nil, err
	}
	if err := roomForMember(filepath.Join(dir, "etcd")); err != nil {
		return nil, err
	}
	return etcd.Start(etcd.Config{Dir: filepath.Join(dir, "etcd"), Name: e.mesh.Self().String(), Addr: st.Addr, Reach: st.Reach, Token: st.Token, Others: st.Others,
		Secret: secret, TTL: e.o.Lease, Logger: e.logger})
}

// What the cluster's directory needs of the disk to start: etcd ends the process where
// it cannot write its first log, which it makes at its whole size.
const (
	roomForLog  = 64_000_000 + roomToStart
	roomToStart = 1 << 20
)

// roomForMember returns nil if the disk has room for this node's part of the cluster's
// directory, which is in dir; else an error that wraps store.ErrNoSpace.
func roomForMember(dir string) error {
	need := uint64(roomToStart)
	if _, err := os.Stat(filepath.Join(dir, "member", "wal")); errors.Is(err, fs.ErrNotExist) {
		need = roomForLog
	}
	free, err := store.Free(filepath.Dir(dir))
	if err != nil || free >= need { // a disk that does not say how full it is may have room
		return nil
	}
	return fmt.Errorf("starting this node's part of the cluster's directory in %s: %w: %d KiB are free, it needs %d KiB", dir, store.ErrNoSpace, free>>10, need>>10)
}
