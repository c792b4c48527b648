package serve

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/node"
)

// clusterFlags are the settings that clusterOptions are read from.
var clusterFlags = []string{"cluster", "cluster-name", "cluster-listen", "cluster-voters", "lease", "etcd", "etcd-ca", "etcd-cert", "etcd-key", "etcd-user", "etcd-password-file"}

// readClusterOptions returns nil where the node is to be in no cluster.
func readClusterOptions(c *cobra.Command) (*node.Cluster, error) {
	text := func(name string) string { return c.Flags().Lookup(name).Value.String() }
	o := &node.Cluster{Name: text("cluster-name"), Listen: text("cluster-listen"),
		EtcdCA: text("etcd-ca"), EtcdCert: text("etcd-cert"), EtcdKey: text("etcd-key"), EtcdUser: text("etcd-user")}
	for _, url := range strings.Split(text("etcd"), ",") {
		if url = strings.TrimSpace(url); url != "" {
			o.Etcd = append(o.Etcd, url)
		}
	}

	var err error
	if o.Lease, err = time.ParseDuration(text("lease")); err != nil || o.Lease == 0 {
		return nil, cli.Usagef("--lease %q is not a duration such as 2s", text("lease"))
	}
	if o.Voters, err = strconv.Atoi(text("cluster-voters")); err != nil || o.Voters == 0 {
		return nil, cli.Usagef("--cluster-voters %q is not an odd number", text("cluster-voters"))
	}
	if (o.EtcdCert == "") != (o.EtcdKey == "") {
		return nil, cli.Usagef("give both --etcd-cert and --etcd-key")
	}

	if file := text("etcd-password-file"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		o.EtcdPassword = strings.TrimRight(string(b), "\r\n")
	}

	embedded := text("cluster") == "true"
	if embedded && len(o.Etcd) > 0 && c.Flags().Changed("cluster") && c.Flags().Changed("etcd") {
		return nil, cli.Usagef("give either --cluster or --etcd")
	}
	if !embedded && len(o.Etcd) == 0 {
		return nil, nil
	}

	return o, nil
}
