// Package clusters has the verbs of nodes and their clusters: node, with drain and trust,
// and cluster, with recover.
package clusters

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Cluster is the command cluster.
func Cluster(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "The cluster that the node is in", Long: `Nodes that were started with serve --cluster, or serve --etcd, are a cluster: they
know where each daemon is, and a daemon that was spawned with --standbys goes on
elsewhere when its node is lost.`}
	status := &cobra.Command{Use: "status", Short: "Show how the cluster stands", Long: `Show how the cluster stands, as the node knows it: whether the node's lease holds,
whether the engine answers, how many daemons have fewer standbys than they are to
have, and how many are on nodes that are gone, without a standby that is there.
The exit code is 6 while the node's lease does not hold.`, Example: `  wasmhost cluster status
  wasmhost cluster status -o json`, Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) error {
		s, err := a.Client().Cluster().Status(c.Context())
		if err != nil {
			return err
		}
		if err := a.Print(s, func(w io.Writer) {
			holds := "holds"
			if s.Holding {
				holds = "has ended: the node's daemons hold their events"
			}

			fmt.Fprintf(w, "cluster\t%s\nengine\t%s\nlease\t%v, %s\ndaemons\t%d, %d with too few standbys, %d lost\n", s.Name, s.Engine, lease(s.LeaseMS), holds, s.Daemons, s.Wanting, s.Orphaned)
			if s.Error != "" {
				fmt.Fprintf(w, "engine says\t%s\n", s.Error)
			}
		}, func() string { return s.Name }); err != nil {
			return err
		}

		if s.Holding {
			return errHolding
		}
		return nil
	}}

	members := cli.Printing(a, &cobra.Command{Use: "members", Short: "List the cluster's nodes", Example: "  wasmhost cluster members -o json", Args: cli.Exact(0)}, cli.Listing[api.ClusterMember]{
		Get: func(c *cobra.Command) ([]api.ClusterMember, error) {
			s, err := a.Client().Cluster().Status(c.Context())
			return s.Members, err
		},
		Head: "NAME\t+NODE ID\tADDRESS\tHERE\tROLE\tLEASE\tOWNS\tSTANDS BY",
		Row: func(m api.ClusterMember) string {
			here, role := "yes", m.Role
			if !m.Here {
				here = "no"
			}

			if m.Leader {
				role += ", leader"
			}
			return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%v\t%d\t%d", cli.OrID(m.Name, m.NodeID), m.NodeID, m.Addr, here, role, lease(m.LeaseMS), m.Owns, m.StandsBy)
		},
		Name: func(m api.ClusterMember) string { return m.NodeID },
	})

	var yes bool
	remove := &cobra.Command{Use: "remove NODE", Short: "Forget a node that is gone for good", Long: `Forget a node of the cluster that is gone for good: it has no vote in the engine any
more, no node of the cluster trusts it, and it does not come back unless it joins one
with a token. Its daemons that had standbys are there; others stay listed as lost. A
node that is there is not removed: stop it first.`, Example: "  wasmhost cluster remove c --yes", Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		if err := a.Confirm(yes, "forget node "+args[0]+" of the cluster"); err != nil {
			return err
		}

		m, err := a.Client().Cluster().RemoveMember(c.Context(), args[0])
		if err != nil {
			return err
		}
		return a.Print(m, func(w io.Writer) { fmt.Fprintf(w, "node %s is forgotten\n", cli.OrID(m.Name, m.NodeID)) }, func() string { return m.NodeID })
	}}

	remove.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.AddCommand(status, members, remove, clusterRecoverCommand(a))
	return c
}

func lease(ms int64) time.Duration { return time.Duration(ms) * time.Millisecond }

// errHolding ends a command about a node whose lease does not hold.
var errHolding = &api.Problem{Code: "holding", Detail: "this node does not reach its cluster's engine", Status: 503}
