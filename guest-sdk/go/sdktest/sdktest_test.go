//go:build !wasip1

package sdktest_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/sdktest"
)

// tally counts, and does what its events say.
type tally struct {
	count uint64
	id    sdk.TimerID
}

func (d *tally) Process(event sdk.Event) error {
	d.count++
	switch event.Text() {
	case "fail":
		return sdk.Fail(7, "told to")
	case "panic":
		panic("told to")
	case "publish":
		if err := sdk.Publish("news", []byte("p")); errors.Is(err, sdk.ErrDenied) {
			sdk.EmitText("denied")
		}
	case "timer":
		d.id, _ = sdk.After(time.Second, []byte("ring"))
	case "cancel":
		d.id.Cancel()
	case "both":
		if err := sdk.Publish("news", []byte("p")); err != nil {
			return err
		}
		d.id, _ = sdk.After(time.Second, []byte("ring"))
	case "undone":
		if _, err := sdk.After(time.Second, nil); err != nil {
			return err
		}
		return errors.New("undone")
	}
	if event.Kind() == sdk.Peer {
		return sdk.Send(event.Sender(), []byte("s"))
	}
	sdk.Log(sdk.Info, "counted")
	sdk.EmitText(strconv.FormatUint(d.count, 10) + " " + strconv.FormatUint(event.Sequence(), 10) + event.Channel())
	return nil
}

func (d *tally) Snapshot() ([]byte, error) {
	return binary.LittleEndian.AppendUint64(nil, d.count), nil
}

func (d *tally) Restore(state []byte) error {
	if len(state) != 8 {
		return sdk.Fail(3, "the state has 8 bytes")
	}
	d.count = binary.LittleEndian.Uint64(state)
	return nil
}

func fresh() sdk.Daemon { return &tally{} }

func says(t *testing.T, a sdktest.Answer, want ...string) {
	t.Helper()
	if got := a.Texts(); a.Err != nil || !slices.Equal(got, want) {
		t.Errorf("it answers %q, error %v; want %q", got, a.Err, want)
	}
}

func TestAFailureLeavesNoTrace(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "")
	says(t, d.Send("a"), "1 1")
	var failure *sdk.Failure
	if a := d.Send("fail"); !errors.As(a.Err, &failure) || failure.Code != 7 {
		t.Errorf("it fails with %v", a.Err)
	}
	var panicked *sdktest.Panic
	if a := d.Send("panic"); !errors.As(a.Err, &panicked) || a.Err.Error() != "panic: told to" {
		t.Errorf("it panics with %v", a.Err)
	}
	if a := d.Send("undone"); a.Err == nil || len(a.Effects) > 0 || d.Timers() > 0 {
		t.Errorf("error %v, effects %v, %d timers", a.Err, a.Effects, d.Timers())
	}
	says(t, d.Send("b"), "2 2")

	if err := d.Upgrade(fresh); err != nil {
		t.Fatal(err)
	}
	says(t, d.Send("c"), "3 3")
	d.Send("fail")
	says(t, d.Send("d"), "4 4")
}

func TestEffects(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "")
	if a := d.Send("publish"); len(a.Effects) != 1 || a.Effects[0].Channel != "news" || a.Effects[0].Data != "p" || !slices.Equal(a.Logs, []string{"counted"}) {
		t.Errorf("it does %v, logs %q", a.Effects, a.Logs)
	}
	d.DenyPublish = func(channel string) bool { return channel == "news" }
	says(t, d.Send("publish"), "denied", "2 2")
	d.Send("fail") // what was denied is denied again when it is undone
	d.DenyPublish = nil
	says(t, d.Channel("news", sdk.ID{}, "x"), "3 3news")

	other := sdk.ID{31: 0xff}
	if a := d.From(other, "x"); len(a.Effects) != 1 || a.Effects[0].To != other {
		t.Errorf("it does %v", a.Effects)
	}
	says(t, d.Gap("news", 1, 2), "5 5news")
}

func TestTimers(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "")
	d.Send("timer")
	if early := d.Advance(time.Second - 1); len(early) > 0 {
		t.Errorf("%v fired early", early)
	}
	rang := d.Advance(1)
	if len(rang) != 1 {
		t.Fatalf("%d timers fired", len(rang))
	}
	says(t, rang[0], "2 2")
	if now := d.Now(); !now.Equal(sdktest.Begin.Add(time.Second)) {
		t.Errorf("it is %v", now)
	}
	d.Send("both")
	d.Send("fail") // the daemon that is made again has the timer's number
	d.Send("cancel")
	if rang := d.Advance(time.Hour); len(rang) > 0 {
		t.Errorf("%v fired after it was cancelled", rang)
	}
}

// Query counts what it must not, and answers with the count.
func (d *tally) Query(question []byte) ([]byte, error) {
	d.count += 100
	if string(question) == "emit" {
		sdk.EmitText("x")
	}
	return strconv.AppendUint(nil, d.count, 10), nil
}

func TestQuestionsChangeNothing(t *testing.T) {
	d := sdktest.Spawn(t, func() sdk.Daemon { return &tally{} }, "")
	d.Send("once")
	for range 2 {
		if answer, err := d.Query("count"); err != nil || answer != "101" {
			t.Errorf("the question is answered with %q, %v, want 101", answer, err)
		}
	}
	if _, err := d.Query("emit"); err == nil {
		t.Error("a question that emits is answered")
	}
	if got := d.Send("again").Texts(); !slices.Equal(got, []string{"2 2"}) {
		t.Errorf("the next event answers %q, want 2 2", got)
	}
}
