//go:build !wasip1

package await_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/await"
	"wasmhost.example/guest-sdk/go/sdktest"
)

var prices, stocks, asker = sdk.ID{1}, sdk.ID{2}, sdk.ID{3}

// shop answers what it is asked after it has asked others.
func shop() sdk.Daemon {
	return await.New(func(e *await.Event) error {
		switch string(e.Data) {
		case "price":
			price, err := await.Ask(prices, []byte("apple")).Wait()
			if err != nil {
				return err
			}
			return e.Answer(price)
		case "both":
			price, stock := await.Ask(prices, nil), await.Ask(stocks, nil)
			if err := await.All(price, stock); err != nil {
				return err
			}
			a, _ := price.Wait()
			b, _ := stock.Wait()
			return e.Answer(append(append(a, ' '), b...))
		case "first":
			answer, late := await.AskWithin(time.Minute, prices, nil), await.After(time.Second)
			return e.Answer([]byte(strconv.Itoa(await.First(answer, late))))
		case "sum":
			sum := 0
			for range 3 {
				b, err := await.Ask(prices, nil).Wait()
				if err != nil {
					return err
				}
				n, err := strconv.Atoi(string(b))
				if err != nil {
					return err
				}
				sum += n
			}
			return e.Answer([]byte(strconv.Itoa(sum)))
		case "days":
			for day := range 3 {
				await.Sleep(24 * time.Hour)
				sdk.EmitText("day " + strconv.Itoa(day+1))
			}
		case "beside":
			await.Go(func() {
				await.Sleep(time.Hour)
				sdk.EmitText("beside")
			})
			sdk.EmitText("done")
		case "fail":
			return errors.New("told to")
		case "panic":
			panic("told to")
		}
		return nil
	})
}

// callsOf are the calls that the answer's event made.
func callsOf(a sdktest.Answer) (calls []sdk.Call) {
	for _, e := range a.Effects {
		if e.Call != 0 {
			calls = append(calls, e.Call)
		}
	}
	return calls
}

func wantAnswer(t *testing.T, a sdktest.Answer, call sdk.Call, data string) {
	t.Helper()
	i := slices.IndexFunc(a.Effects, func(e sdktest.Effect) bool { return e.Answers == call })
	if a.Err != nil || i < 0 || a.Effects[i].Refused || a.Effects[i].Data != data {
		t.Errorf("call %d: got %+v, error %v; want the answer %q", call, a.Effects, a.Err, data)
	}
}

func TestAnAnswerIsAwaited(t *testing.T) {
	d := sdktest.Spawn(t, shop, "")
	a := d.Ask(asker, "price")
	calls := callsOf(a)
	if len(calls) != 1 || a.Effects[0].To != prices || a.Effects[0].Data != "apple" {
		t.Fatalf("got %+v, want one call for the price", a.Effects)
	}
	if a := d.Send("fail"); a.Err == nil || a.Err.Error() != "told to" {
		t.Errorf("a failure meanwhile: got %v", a.Err)
	}
	if a := d.Send("panic"); a.Err == nil {
		t.Error("a panic meanwhile is no failure")
	}
	wantAnswer(t, d.Reply(calls[0], "3"), 1, "3")
}

func TestARefusalIsPassedOn(t *testing.T) {
	d := sdktest.Spawn(t, shop, "")
	a := d.End(callsOf(d.Ask(asker, "price"))[0], sdk.Refused, "closed")
	if len(a.Effects) != 1 || a.Effects[0].Answers != 1 || !a.Effects[0].Refused || a.Effects[0].Data != "refused: closed" {
		t.Errorf("got %+v, want a refusal", a.Effects)
	}
	d.DenySend = func(to sdk.ID) bool { return to == prices }
	if a := d.Ask(asker, "price"); !errors.Is(a.Err, sdk.ErrDenied) {
		t.Errorf("a call that is not granted: got %v, want %v", a.Err, sdk.ErrDenied)
	}
}

func TestSeveralAreAwaited(t *testing.T) {
	d := sdktest.Spawn(t, shop, "")
	calls := callsOf(d.Ask(asker, "both"))
	if len(calls) != 2 {
		t.Fatalf("got calls %v, want two", calls)
	}
	if a := d.Reply(calls[1], "many"); len(a.Effects) > 0 {
		t.Errorf("after one of two: got %+v", a.Effects)
	}
	wantAnswer(t, d.Reply(calls[0], "9"), 1, "9 many")

	next := callsOf(d.Ask(asker, "sum"))
	for _, n := range []string{"1", "20"} {
		next = callsOf(d.Reply(next[0], n))
	}
	wantAnswer(t, d.Reply(next[0], "300"), 4, "321")
}

func TestTheFirstCounts(t *testing.T) {
	d := sdktest.Spawn(t, shop, "")
	calls := callsOf(d.Ask(asker, "first"))
	late := d.Advance(2 * time.Second)
	if len(late) != 1 {
		t.Fatalf("got %d events of timers, want one", len(late))
	}
	wantAnswer(t, late[0], 1, "1")
	if a := d.Reply(calls[0], "too late"); a.Err != nil || len(a.Effects) > 0 {
		t.Errorf("an answer that nobody waits for: got %+v, %v", a.Effects, a.Err)
	}

	calls = callsOf(d.Ask(asker, "first"))
	wantAnswer(t, d.Reply(calls[0], "soon"), 4, "0")
}

func TestDaysPass(t *testing.T) {
	d := sdktest.Spawn(t, shop, "")
	d.Send("days")
	var got []string
	for _, a := range d.Advance(4 * 24 * time.Hour) {
		got = append(got, a.Texts()...)
	}
	if want := []string{"day 1", "day 2", "day 3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTasksRunBesideOneAnother(t *testing.T) {
	d := sdktest.Spawn(t, shop, "")
	if got := d.Send("beside").Texts(); !slices.Equal(got, []string{"done"}) {
		t.Errorf("got %q, want it to be done", got)
	}
	if got := d.Advance(time.Hour)[0].Texts(); !slices.Equal(got, []string{"beside"}) {
		t.Errorf("got %q, want the task beside it", got)
	}
}
