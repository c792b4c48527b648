// Package spaces makes hosts in network namespaces, and wires between them that can
// be made slow, lossy or be cut, one way or both.
package spaces

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Network is hosts in namespaces of their own, each at one end of a veth pair;
// the other ends are in one more namespace, where cable passes frames between
// them.
type Network struct {
	Hosts  []*Host
	prefix string
	*cable
}

// Host is a namespace with one address.
type Host struct {
	name, space string
	number      int // the last byte of its address
}

// Addr is the host's address.
func (h *Host) Addr() string { return fmt.Sprintf("10.77.0.%d", h.number) }

// Command is what a program is to be run by in order to run on the host.
func (h *Host) Command() []string { return []string{"ip", "netns", "exec", h.space} }

// ErrNotPermitted says that this machine, or this user, makes no such network.
var ErrNotPermitted = errors.New("no network of namespaces can be made here")

// New makes a network of hosts with these names. It takes root. ErrNotPermitted.
func New(ctx context.Context, names ...string) (n *Network, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: it takes root", ErrNotPermitted)
	}
	n = &Network{prefix: fmt.Sprintf("wh%d-", os.Getpid())}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
			n = nil
		}
	}()
	middle := n.prefix + "cable"
	if err := ip(ctx, "netns", "add", middle); err != nil {
		return n, fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	for i, name := range names {
		h := &Host{name: name, space: n.prefix + name, number: i + 1}
		n.Hosts = append(n.Hosts, h)
		if err := n.plug(ctx, middle, h); err != nil {
			return n, err
		}
	}
	var ends []*os.File
	err = inside(middle, func() error {
		for _, h := range n.Hosts {
			f, err := openEnd(h.name)
			if err != nil {
				return fmt.Errorf("%w: the end of %s's cable: %w", ErrNotPermitted, h.name, err)
			}
			ends = append(ends, f)
		}
		return nil
	})
	if err != nil {
		for _, f := range ends {
			err = errors.Join(err, f.Close())
		}
		return n, err
	}
	n.cable = newCable(ends)
	return n, nil
}

// plug makes the namespace of a host and the veth pair from it to the middle.
// Frames leave it one by one and no longer than a link carries: it is them that
// get lost.
func (n *Network) plug(ctx context.Context, middle string, h *Host) error {
	for _, args := range []string{"netns add " + h.space, "-n " + middle + " link add name " + h.name + " type veth peer name eth0 netns " + h.space} {
		if err := ip(ctx, strings.Fields(args)...); err != nil {
			return fmt.Errorf("%w: %w", ErrNotPermitted, err)
		}
	}
	for _, args := range []string{
		"-n " + middle + " link set dev " + h.name + " up",
		"-n " + h.space + " link set dev eth0 gso_max_segs 1 up",
		"-n " + h.space + " link set dev lo up",
		"-n " + h.space + " addr add " + h.Addr() + "/24 dev eth0",
		"netns exec " + h.space + " sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1",
	} {
		if err := ip(ctx, strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

// Readdress gives the host another address. With gap it has none in between.
func (n *Network) Readdress(ctx context.Context, h *Host, gap bool) error {
	add := []string{"-n", h.space, "addr", "add", "", "dev", "eth0"}
	del := []string{"-n", h.space, "addr", "del", h.Addr() + "/24", "dev", "eth0"}
	h.number += len(n.Hosts)
	if h.number > 254 {
		h.number = 1 + (h.number-1)%len(n.Hosts)
	}
	add[4] = h.Addr() + "/24"
	steps := [][]string{add, del}
	if gap {
		steps = [][]string{del, add}
	}
	for _, s := range steps {
		if err := ip(ctx, s...); err != nil {
			return err
		}
	}
	return nil
}

// Link takes the host's link up or down.
func (h *Host) Link(ctx context.Context, to string) error {
	return ip(ctx, "-n", h.space, "link", "set", "dev", "eth0", to)
}

// Close takes everything away again. What runs in it must have ended.
func (n *Network) Close() error {
	var err error
	if n.cable != nil {
		err = n.cable.close()
	}
	for _, space := range append([]string{n.prefix + "cable"}, n.spaces()...) {
		if _, statErr := os.Stat("/run/netns/" + space); statErr == nil {
			err = errors.Join(err, ip(context.Background(), "netns", "del", space))
		}
	}
	return err
}

func (n *Network) spaces() []string {
	var out []string
	for _, h := range n.Hosts {
		out = append(out, h.space)
	}
	return out
}

func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// inside calls fn in a network namespace.
func inside(space string, fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := os.Open("/run/netns/" + space)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			err = errors.Join(err, f.Close())
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// openEnd opens a link for its frames, each with the header that says whether its
// checksum is still to be made (PACKET_VNET_HDR).
func openEnd(name string) (*os.File, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	all := int(uint16(unix.ETH_P_ALL)>>8 | uint16(unix.ETH_P_ALL)<<8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: link.Index}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}
