//go:build !unix

package socket

import "net"

func listenPrivate(path string) (net.Listener, error) { return net.Listen("unix", path) }
