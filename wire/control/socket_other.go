//go:build !unix

package control

import "net"

func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }
