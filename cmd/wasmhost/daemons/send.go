package daemons

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// sending is one send command.
type sending struct {
	*cli.App
	ctx      context.Context
	ref, id  string // to whom, under which id
	key      string // by which a group chooses a member
	answered int    // events that were
	repeated int    // of these, those applied before
	failed   int
	first    *api.Problem // of the failed
	stopped  bool         // events after the last answered were not taken
}

// Send is the command send.
func Send(a *cli.App) *cobra.Command {
	var id, key string
	c := &cobra.Command{
		Use:   "send DAEMON|group/NAME [DATA | -]",
		Short: "Send events to a daemon, or a group, and print the outputs",
		Long: `Send one event: DATA (or --data), a file (-f), or standard input, all of it, with -
or where it is no terminal and nothing else is given. Or send each line of a file as one
event, in order and pipelined (--lines FILE, or --lines - for standard input). What ends a line, LF or CRLF, is not part of its event; an empty line is
an empty event. The command returns when the outputs are durable. With -o jsonl
each output is printed as soon as it is acknowledged; with -o json all of them at
the end. An event that the daemon fails on is told on standard error and does not
stop those after it.

--id makes it safe to run the command again: an event that was applied is not
applied again, and its recorded outputs are printed. An id is SENDER or
SENDER/NUMBER: a name of your choice, and which of its events this is (1 without a
number). With --lines it is the id of the first line, and those of the others
follow. The numbers of one sender must grow. A daemon remembers 65,536 senders,
8,192 of one API token or peer, and forgets none within a day: many events are better
numbered by one sender (--id import/1, --id import/2) than sent by one each. It looks
for recorded outputs among its last 65,536 events, and further back says superseded
instead. An id that was used for other content is refused. Each API token, and each
peer that may not operate the node's daemons, has names of its own. An event without
an id takes no place among the senders.

To group/NAME each event goes to one member of the group, which its strategy chooses;
with consistent-hash all events of a --key go to the same member, while it is well. An
event with an --id goes to the member that its key, or else its sender, is for.`,
		Example: `  wasmhost send c1 hello
  echo hello | wasmhost send c1
  wasmhost send c1 -f event.json -o json
  wasmhost send c1 --data 'charge 5' --id order-1234
  wasmhost send c1 --lines events.txt --id import-7 -o jsonl
  wasmhost send group/workers --data 'charge 5' --key customer-17`,
		Args: cli.Between(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			source, err := a.EventSource(c, args[1:])
			if err != nil {
				return err
			}
			if c.Flags().Changed("id") {
				if _, err := api.ParseEventID(id); err != nil {
					return cli.Usagef("--id: %v", err)
				}
			}
			s := &sending{App: a, ctx: c.Context(), ref: args[0], id: id, key: key}
			if source.Lines != "" {
				return s.lines(source.Lines)
			}
			return s.one(source.Read(a))
		},
	}
	cli.DeclareEvents(c)
	c.Flags().StringVar(&id, "id", "", "SENDER or SENDER/NUMBER: the event's id, under which it is applied once")
	c.Flags().StringVar(&key, "key", "", "to a group: by which its member is chosen")
	return c
}

func (s *sending) one(payload []byte, err error) error {
	if err != nil {
		return err
	}
	sent, err := s.Client().Keyed(s.key).Send(s.ctx, s.ref, s.id, payload)
	if err != nil {
		return err
	}
	if sent.Duplicate {
		fmt.Fprintln(s.Err, "the event had been applied before; these are its recorded outputs")
	}
	if s.Format == "json" {
		return json.NewEncoder(s.Out).Encode(sent)
	}
	for _, o := range sent.Outputs {
		if err := s.PrintOutput(o); err != nil {
			return err
		}
	}
	return nil
}

func (s *sending) lines(path string) error {
	in, err := s.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	out := bufio.NewWriterSize(s.Payloads(), 64<<10)
	enc, all := json.NewEncoder(out), []api.Output{}
	err = s.Client().Keyed(s.key).SendAll(s.ctx, s.ref, s.id, cli.LineReader(in), func(sent api.Sent) error {
		s.count(sent)
		for _, o := range sent.Outputs {
			var err error
			switch s.Format {
			case "json":
				all = append(all, o)
			case "jsonl":
				err = enc.Encode(o)
			default:
				err = cli.WritePayload(out, o)
			}
			if err != nil {
				return err
			}
		}
		if s.Format != "json" && len(sent.Outputs) > 0 {
			return cli.FlushIdle(out, s.Out)
		}
		return nil
	})
	if s.Format == "json" {
		err = errors.Join(err, enc.Encode(api.Sent{Outputs: all}))
	}
	return errors.Join(s.ended(err), out.Flush())
}

// count notes what became of one event.
func (s *sending) count(sent api.Sent) {
	s.Spoke.Store(true)
	s.answered++
	if sent.Duplicate {
		s.repeated++
	}
	if sent.Error == nil {
		return
	}
	if s.failed++; s.first == nil {
		s.first = sent.Error
	}
	s.stopped = sent.Stopped
	fmt.Fprintf(s.Err, "event %d: %s (%s)\n", s.answered, cli.OneLine(sent.Error.Detail), cli.OneLine(sent.Error.Code))
}

// ended says how sending lines ended, err being what cut it short.
func (s *sending) ended(err error) error {
	if s.repeated > 0 {
		fmt.Fprintf(s.Err, "%d of %d events had been applied before; the outputs printed for them are those recorded then\n", s.repeated, s.answered)
	}
	switch {
	case err != nil && s.ctx.Err() == nil:
		return fmt.Errorf("after %d events were answered: %w", s.answered, err)
	case err != nil:
		return err
	case s.stopped:
		return fmt.Errorf("event %d was not taken, and none after it: %w", s.answered, s.first)
	case s.failed > 1:
		return fmt.Errorf("%d of %d events failed; the first: %w", s.failed, s.answered, s.first)
	case s.first != nil:
		return s.first
	}
	return nil
}
