package clusters

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/identity"
)

func clusterRecoverCommand(a *cli.App) *cobra.Command {
	var yes, dry bool
	var timeout time.Duration
	c := &cobra.Command{Use: "recover", Short: "Begin the directory anew after its voters are lost for good", Long: `Begin the cluster's directory anew, on a node that is left, after the nodes that kept
it, or a majority of them, are lost for good. While the directory answers the command changes nothing (exit
code 4).

The node asks every node that it trusts which copies of daemons it has, its own and
those that it stood by for, and verifies the chain of each. Each daemon goes on with the
copy that goes furthest, under a higher epoch. The node begins a new directory with one
vote, the other nodes come to it by themselves, and the first of them get a vote. Nodes
that had a vote and do not answer are removed: they come back only on an empty data
directory and with a token. What the lost directory left on the node's disk is set aside
in its data directory, under cluster/lost-TIME.

A copy that is not complete may lack what its daemon acknowledged after the copy left
those in sync. Daemons that a node remembers and of which no copy is left are listed as
lost; then the exit code is 12. Look at --dry-run first: it prints the same, and changes
nothing. Run the command only when the voters that do not answer never run again on what
they had: two directories at the same time can name two owners.`, Example: `  wasmhost cluster recover --dry-run
  wasmhost cluster recover --yes
  wasmhost cluster recover --dry-run -o json`, Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) error {
		if !dry {
			if err := a.Confirm(yes, "begin the cluster's directory anew on this node"); err != nil {
				return err
			}
		}

		ctx, cancel := context.WithTimeout(c.Context(), timeout)
		defer cancel()
		r, err := a.Client().Cluster().Recover(ctx, dry)
		if err != nil {
			return err
		}

		if !dry {
			fmt.Fprintln(a.Err, "the node restarts with the new directory")
			if err := awaitDirectory(a, ctx); err != nil {
				return err
			}
		}

		if err := a.Print(r, func(w io.Writer) { printRecovery(w, &r) }, func() string { return r.Cluster }); err != nil {
			return err
		}
		if n := len(r.Lost); n > 0 {
			return &api.Problem{Code: "daemons-lost", Detail: fmt.Sprintf("of %d daemons no copy is left that proves its chain", n), Hint: "a node that is only away enters its daemons when it is back", Status: 409}
		}

		return nil
	}}

	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be done, and change nothing")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take")
	return c
}

// restartTime bounds for how long the node may not answer while it restarts.
const restartTime = time.Minute

// awaitDirectory waits until the node has restarted and its lease holds.
func awaitDirectory(a *cli.App, ctx context.Context) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	answered := time.Now()

	for {
		s, err := a.Client().Cluster().Status(ctx)
		switch {
		case err == nil && !s.Holding:
			return nil
		case err == nil:
			answered = time.Now()
		case time.Since(answered) > restartTime:
			return fmt.Errorf("the node has not restarted: see its log: %w", err)
		}

		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

func printRecovery(w io.Writer, r *api.Recovery) {
	verb := "goes on"
	if r.DryRun {
		verb = "would go on"
	}

	for _, n := range r.Nodes {
		fmt.Fprintf(w, "node\t%s\t%s\t%s, %d copies\n", n.NodeID, n.Name, n.Answer, n.Copies)
	}

	for _, d := range r.Daemons {
		complete := "complete"
		if !d.Complete {
			complete = "may lack its end"
		}

		fmt.Fprintf(w, "daemon\t%s\t%s\t%s on %s, epoch %d, %d outputs: %s\n", originOf(d.Entity), d.Name, verb, d.Node, d.Epoch, d.Sequence, complete)
		if d.NotRaised != "" {
			fmt.Fprintf(w, "\t\t\tits epoch is as before: %s\n", d.NotRaised)
		}

		printCopies(w, d.Copies)
	}

	for _, d := range r.Lost {
		fmt.Fprintf(w, "lost\t%s\t%s\towned by %s, epoch %d: %s\n", originOf(d.Entity), d.Name, d.Owner, d.Epoch, d.Reason)
		printCopies(w, d.Copies)
	}
}

// originOf shows an entity id as other commands do.
func originOf(entity string) string {
	id, err := identity.ParseEntityID(entity)
	if err != nil {
		return entity
	}
	return id.Origin().String()
}

func printCopies(w io.Writer, copies []api.SurveyedCopy) {
	for _, c := range copies {
		how := "not in sync"
		if c.InSync {
			how = "in sync"
		}

		if c.Error != "" {
			fmt.Fprintf(w, "\t\t\t%s on %s, %s: %s\n", c.Role, c.Node, how, c.Error)
		} else {
			fmt.Fprintf(w, "\t\t\t%s on %s, %s: epoch %d, %d outputs, %d records\n", c.Role, c.Node, how, c.ProvenEpoch, c.ProvenSequence, c.Index)
		}
	}
}
