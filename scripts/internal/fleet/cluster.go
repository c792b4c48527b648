package fleet

import (
	"context"
	"fmt"
	"time"
)

// Voting waits, for a minute at most, until that many nodes have a vote in the engine of
// the node's cluster: with fewer than three none may fail.
func Voting(ctx context.Context, n *Node, want int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		s, err := n.Client.Cluster().Status(ctx)
		voters := 0
		for _, m := range s.Members {
			if m.Role == "voter" {
				voters++
			}
		}
		if err == nil && voters >= want {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d nodes have a vote in the engine, not %d: %w", voters, want, err)
		}
		Pause(ctx, 20*time.Millisecond)
	}
}
