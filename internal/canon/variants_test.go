package canon

import "testing"

type shape interface{ kind() byte }
type square struct{}
type circle struct{ radius int }
type disc struct{ circle }

func (*square) kind() byte { return 1 }
func (*circle) kind() byte { return 9 }

func TestVariants(t *testing.T) {
	v := VariantsOf[shape](shape.kind, &square{}, &circle{})
	one, ok := v.New(9)
	c, is := one.(*circle)
	if !ok || !is || *c != (circle{}) {
		t.Fatalf("kind 9 is %T, %t", one, ok)
	}
	c.radius = 4
	if again, _ := v.New(9); again.(*circle).radius != 0 {
		t.Error("two variants share what they are")
	}
	for _, none := range []byte{0, 2, 255} {
		if one, ok := v.New(none); ok || one != nil {
			t.Errorf("kind %d is %T", none, one)
		}
	}
	if n := testing.AllocsPerRun(100, func() { v.New(1) }); n > 1 {
		t.Errorf("a variant takes %v allocations", n)
	}
	defer func() {
		if recover() == nil {
			t.Error("two variants of one kind are taken")
		}
	}()
	VariantsOf[shape](shape.kind, &circle{}, &disc{})
}
