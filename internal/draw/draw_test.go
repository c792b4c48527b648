package draw

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What is drawn is within its bounds, and reaches them.
func TestDrawn(t *testing.T) {
	ints, ones, orders, floats := map[int]bool{}, map[string]bool{}, map[string]bool{}, 0
	Check(t, func(t *T) {
		n := Int(t, "number", -1, 1)
		if n < -1 || n > 1 {
			t.Fatalf("%d is not from -1 to 1", n)
		}
		ints[n] = true
		ones[One(t, "one", "a", "b")] = true
		list := Order(t, "order", []int{1, 2, 3})
		orders[fmt.Sprint(list)] = true
		if slices.Sort(list); !slices.Equal(list, []int{1, 2, 3}) {
			t.Errorf("the order has %v", list)
		}
		if f := Float(t, "float", 2, 3); f < 2 || f > 3 {
			t.Errorf("%v is not from 2 to 3", f)
		}
		if Bool(t, "bool") {
			floats++
		}
	})
	if len(ints) != 3 || len(ones) != 2 || len(orders) != 6 || floats == 0 || floats == cases {
		t.Errorf("drawn were %v, %v, %v, %d of %d true", ints, ones, orders, floats, cases)
	}
}

// A case that fails is repeated by its seed.
func TestAFailureIsRepeated(t *testing.T) {
	if os.Getenv("DRAW_FAIL") != "" {
		Check(t, func(t *T) {
			if n := Int(t, "number", 0, 1<<40); n%3 == 0 {
				t.Fatalf("drew %d", n)
			}
		})
		return
	}
	failing := func(env ...string) string {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestAFailureIsRepeated$")
		cmd.Env = append(append(os.Environ(), "DRAW_FAIL=1"), env...)
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Fatalf("a property that does not hold passes: %s", out)
		}
		return string(out)
	}
	said := failing()
	seed := regexp.MustCompile(seedVariable + `=\d+`).FindString(said)
	number := regexp.MustCompile(`drew \d+`).FindString(said)
	if again := failing(seed); number == "" || !strings.Contains(again, number) {
		t.Errorf("%s: %q, then %s", seed, number, again)
	}
}
