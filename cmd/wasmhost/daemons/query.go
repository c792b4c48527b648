package daemons

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Query is the command query.
func Query(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "query DAEMON [DATA | -]",
		Short: "Ask a daemon what changes nothing, and print the answer",
		Long: `Ask a daemon's code a question: DATA (or --data), a file (-f), or standard input, all of
it, with - or where it is no terminal and nothing else is given. The question is no event:
it leaves no record, and whatever the daemon changes to find the answer is undone. What it
does to others, or emits, is a fault (exit code 9).

The answer is of the state that all events up to "applied" (-o json) left, all of which are
durable; in a cluster the node's lease was seen to hold after it was found. A query does not
wait for an event that takes long: a copy of what the daemon was before it answers.

A daemon answers queries where its module exports wasmhost_query, which each SDK can:
others say no-queries.`,
		Example: `  wasmhost query c1 count
  wasmhost query alice balance -o json
  echo balance | wasmhost query alice -`,
		Args: cli.Between(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			source, err := a.EventSource(c, args[1:])
			if err != nil {
				return err
			}
			question, err := source.Read(a)
			if err != nil {
				return err
			}
			answer, err := a.Client().Daemons().Query(c.Context(), args[0], question)
			if err != nil {
				return err
			}
			if a.Format == "json" || a.Format == "jsonl" {
				return json.NewEncoder(a.Out).Encode(answer)
			}
			return cli.WritePayload(a.Payloads(), api.Output{Payload: answer.Payload})
		},
	}
	cli.DeclareOne(c)
	return c
}
