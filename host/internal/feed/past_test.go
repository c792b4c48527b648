package feed

import (
	"context"
	"slices"
	"testing"
)

// What a feed keeps comes before what is published then, once and in order.
func TestThePastComesBeforeWhatIsNew(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := Past[int]{Most: 4, Bytes: 100, Size: func(*int) int64 { return 1 }}
	publish := func(v int) { p.Publish(func() int { return v }) }
	for i := range 6 {
		publish(i)
	}
	all := p.Stream(ctx, 10, Budget{}, func(int) bool { return true })
	some := p.Stream(ctx, 10, Budget{}, func(v int) bool { return v >= 4 })
	none := p.Stream(ctx, 10, Budget{}, nil)
	publish(6)
	p.Close()
	for _, c := range []struct {
		name string
		from <-chan int
		want []int
	}{{"all", all, []int{2, 3, 4, 5, 6}}, {"from 4", some, []int{4, 5, 6}}, {"none", none, []int{6}}} {
		var got []int
		for v := range c.from {
			got = append(got, v)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// What is kept is bounded by its bytes, too.
func TestThePastIsBoundedByItsBytes(t *testing.T) {
	p := Past[string]{Most: 100, Bytes: 10, Size: func(s *string) int64 { return int64(len(*s)) }}
	for _, v := range []string{"aaaa", "bbbb", "cccc", "ddddddddddd", "e"} {
		p.Publish(func() string { return v })
		if p.bytes > p.Bytes {
			t.Fatalf("%d bytes are kept after %q, at most %d", p.bytes, v, p.Bytes)
		}
	}
	if !slices.Equal(p.kept, []string{"e"}) {
		t.Errorf("kept %q, want what fits alone", p.kept)
	}
}
