package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// clusterOptions say which cluster a node is in.
type clusterOptions struct {
	embedded bool
	name     string
	listen   string // for the members of the embedded engine; empty: as the node
	voters   int    // how many members the embedded engine gets
	lease    time.Duration
	comeIn   time.Duration // for how long the node tries to come in

	etcd                      []string // URLs; none: the embedded engine
	etcdCA, etcdCert, etcdKey string
	etcdUser, etcdPassword    string

	data string            // the node's data directory
	key  *identity.KeyPair // the node's

	older func(life []byte) (bool, error) // whether the node's store is older than that life of it
}

// clusterFlags are the settings that clusterOptions are read from.
var clusterFlags = []string{"cluster", "cluster-name", "cluster-listen", "cluster-voters", "lease", "etcd", "etcd-ca", "etcd-cert", "etcd-key", "etcd-user", "etcd-password-file"}

// on reports whether the node is in a cluster.
func (o clusterOptions) on() bool { return o.embedded || len(o.etcd) > 0 }

// maxVoters is how many members an embedded engine may have: more only make it
// slower.
const maxVoters = 7

func readClusterOptions(c *cobra.Command, ephemeral bool) (o clusterOptions, err error) {
	text := func(name string) string { return c.Flags().Lookup(name).Value.String() }
	o = clusterOptions{embedded: text("cluster") == "true", name: text("cluster-name"), listen: text("cluster-listen"), comeIn: time.Minute,
		etcdCA: text("etcd-ca"), etcdCert: text("etcd-cert"), etcdKey: text("etcd-key"), etcdUser: text("etcd-user")}
	for _, url := range strings.Split(text("etcd"), ",") {
		if url = strings.TrimSpace(url); url != "" {
			o.etcd = append(o.etcd, url)
		}
	}
	if o.lease, err = time.ParseDuration(text("lease")); err != nil || o.lease < directory.MinTTL || o.lease > directory.MaxTTL {
		return o, usagef("--lease %q is not a time from %v to %v", text("lease"), directory.MinTTL, directory.MaxTTL)
	}
	if o.voters, err = strconv.Atoi(text("cluster-voters")); err != nil || o.voters < 1 || o.voters > maxVoters || o.voters%2 == 0 {
		return o, usagef("--cluster-voters %q is not an odd number up to %d: with an even one no more nodes may fail than with one less", text("cluster-voters"), maxVoters)
	}
	if err := checkClusterName(o.name); err != nil {
		return o, err
	}
	switch {
	case o.embedded && len(o.etcd) > 0 && c.Flags().Changed("cluster") && c.Flags().Changed("etcd"):
		return o, usagef("give either --cluster or --etcd")
	case len(o.etcd) > 0:
		o.embedded = false
	case o.embedded && ephemeral:
		return o, usagef("a node with a vote in its cluster keeps that on disk: give --data DIR, or an --etcd")
	}
	if (o.etcdCert == "") != (o.etcdKey == "") {
		return o, usagef("give both --etcd-cert and --etcd-key")
	}
	if file := text("etcd-password-file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return o, err
		}
		o.etcdPassword = strings.TrimRight(string(b), "\r\n")
	}
	return o, nil
}

var errClusterName = errors.New("not a name of a cluster")

func checkClusterName(name string) error {
	ok := name != "" && len(name) <= 64
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return usagef("--cluster-name %q: %v: use up to 64 of a-z 0-9 - _ .", name, errClusterName)
	}
	return nil
}
