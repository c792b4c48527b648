package main

import "context"

// guestAttacks are modules that try to take the node that compiles or runs them.
var guestAttacks = []attack{
	{
		name: "straight-fill", tries: "1,000 memory.fill of 62.5 MiB in a straight line",
		want: []string{"limit-exceeded"},
		run:  bomb(guest{pages: 1000, process: join(times(1000, fill(1000<<16)), ok)}),
	},
	{
		name: "straight-fill-3000", tries: "3,000 of them, which froze a node for a minute",
		want: []string{"limit-exceeded"},
		run:  bomb(guest{pages: 1000, process: join(times(3000, fill(1000<<16)), ok)}),
	},
	{
		name: "straight-copy", tries: "2,000 overlapping memory.copy of 31 MiB in a straight line",
		want: []string{"limit-exceeded"},
		run:  bomb(guest{pages: 1000, process: join(times(2000, join(i32(1), i32(0), i32(500<<16), []byte{0xfc, 10, 0, 0})), ok)}),
	},
	{
		name: "fill-in-table-ends", tries: "fills at the ends of blocks that a br_table leads to",
		want: []string{"limit-exceeded"},
		run: bomb(guest{pages: 1000, process: join(times(600, join([]byte{0x02, 0x40}, i32(0), []byte{0x0e, 1, 0, 0, 0x0b}, fill(1000<<16),
			fill(1000<<16))), ok)}),
	},
	{
		name: "table-fill", tries: "10,000 table.fill of 60,000 elements in a straight line, over the fuel",
		want: []string{"limit-exceeded"},
		run: limited(10_000_000, guest{tables: join([]byte{0x70, 0}, uleb(60_000)), process: join(
			times(10_000, join(i32(0), []byte{0xd0, 0x70}, i32(60_000), []byte{0xfc, 17, 0})), ok)}),
	},
	{
		name: "initialize-fill", tries: "the fills in _initialize, so that an upload runs them",
		want: []string{"fuel"},
		run:  bomb(guest{pages: 1000, start: times(1000, fill(1000<<16)), process: ok}),
	},
	{
		name: "endless-loop", tries: "a loop without an end, in every event",
		want: []string{"limit-exceeded", "fuel"},
		run:  bomb(guest{process: join([]byte{0x03, 0x40, 0x0c, 0, 0x0b}, ok)}),
	},
	{
		name: "grow-at-the-end", tries: "memory.grow as the last instruction, over what is left of the fuel",
		want: []string{"limit-exceeded"},
		run:  limited(3000, guest{process: join(i32(1), []byte{0x40, 0, 0x1a}, ok)}),
	},
	{
		name: "unpaid-at-the-end", tries: "code behind a br_table, as the last of a call, over what is left of the fuel",
		want: []string{"limit-exceeded"},
		run: limited(3000, guest{process: join([]byte{0x02, 0x40}, i32(0), []byte{0x0e, 1, 0, 0, 0x0b},
			times(5000, join(i32(0), []byte{0x1a})), ok)}),
	},
	{
		name: "compile-br-table", tries: "one br_table of 300,000 targets, 300 KB",
		want: []string{"br_table targets"},
		run:  bomb(guest{process: join([]byte{0x02, 0x40}, i32(0), []byte{0x0e}, uleb(300_000), make([]byte, 300_001), []byte{0x0b}, ok)}),
	},
	{
		name: "compile-empty-loops", tries: "20,000 empty loops in one function, 60 KB",
		want: []string{"loops of a function"},
		run:  bomb(guest{process: join(times(20_000, []byte{0x03, 0x40, 0x0b}), ok)}),
	},
	{
		name: "compile-long-function", tries: "one function of 2 million instructions, 11 MB",
		want: []string{"bytes"},
		run:  bomb(guest{process: join(times(1_000_000, join(i32(123_456_789), []byte{0x1a})), ok)}),
	},
	{
		name: "compile-ifs-and-locals", tries: "5,000 ifs in a function of 1,000 locals, 71 KB: within the bounds, in a process of its own",
		want: []string{"200"},
		run: bomb(guest{locals: join([]byte{1}, uleb(1000), []byte{0x7f}), process: join(times(5_000,
			join(i32(1), []byte{0x04, 0x40, 0x20}, uleb(7), i32(1), []byte{0x6a, 0x21}, uleb(500), []byte{0x0b})), ok)}),
	},
	{
		name: "compile-deep-blocks", tries: "40,000 blocks inside one another",
		want: []string{"nested"},
		run:  bomb(guest{process: join(times(40_000, []byte{0x02, 0x40}), times(40_000, []byte{0x0b}), ok)}),
	},
	{
		name: "grow-to-the-limit", tries: "memory.grow to the limit in every event, 200 daemons",
		want: []string{"200 grown"},
		run:  growers(200),
	},
}

// bomb pushes the module, spawns a daemon and sends it an event.
func bomb(g guest) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) { return s.one().bomb(ctx, g.bytes()) }
}

// limited is bomb with so much fuel for an event.
func limited(fuel int, g guest) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		one := s.one()
		if _, err := one.must(ctx, "PUT", "/v1/kinds/bomb", g.bytes()); err != nil {
			return "", err
		}
		if err := one.spawn(ctx, "bomb", "bomb", map[string]any{"fuel": fuel}); err != nil {
			return "", err
		}
		return one.say(ctx, "POST", "/v1/daemons/bomb/events", []byte("x"))
	}
}

// growers are daemons that take all the memory that they may have, and touch none.
func growers(n int) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		g := guest{process: join(i32(1<<15), []byte{0x40, 0, 0x1a}, i32(1), []byte{0x40, 0, 0x1a}, ok)}
		return s.many(ctx, n, g.bytes(), "grown")
	}
}
