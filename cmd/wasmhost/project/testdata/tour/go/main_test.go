package main

import (
	"errors"
	"slices"
	"testing"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/sdktest"
)

// Everything that the SDK's host for tests has.

var other = sdk.ID{31: 0xff}

func fresh() sdk.Daemon { return &tour{} }

func says(t *testing.T, a sdktest.Answer, want ...string) {
	t.Helper()
	if got := a.Texts(); a.Err != nil || !slices.Equal(got, want) {
		t.Errorf("it answers %q, error %v; want %q", got, a.Err, want)
	}
}

func TestAFailureLeavesNoTrace(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "tour")
	var failure *sdk.Failure
	if a := d.Send("fail"); !errors.As(a.Err, &failure) || failure.Code != 7 {
		t.Errorf("it fails with %v", a.Err)
	}
	var panicked *sdktest.Panic
	if a := d.Send("panic"); !errors.As(a.Err, &panicked) {
		t.Errorf("it panics with %v", a.Err)
	}
	says(t, d.Send("x"), "10-")
	if err := d.Upgrade(fresh); err != nil {
		t.Fatal(err)
	}
	says(t, d.Send("x"), "20-")
}

func TestEffectsAreValues(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "tour")
	a := d.Send("all")
	says(t, a, "all", "10-")
	if !slices.Equal(a.Logs, []string{"an event"}) {
		t.Errorf("it logs %q", a.Logs)
	}
	never := sdk.TimerID(1<<12 | 4)
	if want := []sdktest.Effect{
		{Channel: "news", Data: "p"},
		{To: sdktest.Self, Data: "s"},
		{Timer: 1<<12 | 3, At: sdktest.Begin.Add(time.Second), Data: "ring"},
		{Timer: never, At: sdktest.Begin.Add(2 * time.Second), Data: "never"},
		{Timer: never},
	}; !slices.Equal(a.Effects, want) {
		t.Errorf("it does %v, want %v", a.Effects, want)
	}
}

func TestGrantsAreRefused(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "tour")
	d.DenyPublish = func(channel string) bool { return channel == "news" }
	if a := d.Send("all"); !errors.Is(a.Err, sdk.ErrDenied) {
		t.Errorf("error %v", a.Err)
	}
	d.DenySend = func(to sdk.ID) bool { return to == other }
	if a := d.From(other, "x"); !errors.Is(a.Err, sdk.ErrDenied) {
		t.Errorf("error %v", a.Err)
	}
	d.DenySend = nil
	says(t, d.From(other, "x"), "14+")
}

func TestSendersAndChannels(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "tour")
	a := d.From(other, "x")
	says(t, a, "14+")
	if len(a.Effects) != 1 || a.Effects[0].To != other {
		t.Errorf("it does %v", a.Effects)
	}
	says(t, d.Channel("news", sdk.ID{}, "x"), "21-news")
	says(t, d.Channel("news", other, "x"), "31+news")
	says(t, d.Gap("news", 1, 2), "42-news")
}

func TestTimersFireInTime(t *testing.T) {
	d := sdktest.Spawn(t, fresh, "tour")
	d.Send("all") // sets two, and cancels one
	if d.Timers() != 1 {
		t.Errorf("%d timers are set", d.Timers())
	}
	if early := d.Advance(time.Second - 1); len(early) > 0 {
		t.Errorf("%v fired early", early)
	}
	rang := d.Advance(1)
	if len(rang) != 1 {
		t.Fatalf("%d timers fired", len(rang))
	}
	says(t, rang[0], "23+")
	if now := d.Now(); !now.Equal(sdktest.Begin.Add(time.Second)) {
		t.Errorf("it is %v", now)
	}
}
