package applications

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
)

// Of two who change an application from the same revision, one is refused.
func TestAnApplicationChangesFromItsRevisionAlone(t *testing.T) {
	var k Keeper
	made := []api.Applied{{Type: "kind", Name: "k"}, {Type: "daemon", Name: "d"}, {Type: "kind", Name: "k"}}
	one, err := k.put(api.Application{Name: "shop", Made: made})
	if err != nil || one.Revision != 1 || !slices.Equal(one.Made, []api.Applied{{Type: "daemon", Name: "d"}, {Type: "kind", Name: "k"}}) {
		t.Fatalf("got %+v, %v", one, err)
	}
	if _, err := k.put(api.Application{Name: "shop", Made: made}); !errors.Is(err, problem.ErrApplicationChanged) {
		t.Errorf("made again: %v", err)
	}
	two, err := k.put(one)
	if err != nil || two.Revision != 2 {
		t.Fatalf("got %+v, %v", two, err)
	}
	if _, err := k.put(one); !errors.Is(err, problem.ErrApplicationChanged) {
		t.Errorf("from an old revision: %v", err)
	}
	two.Made = nil
	if _, err := k.put(two); err != nil || len(k.byName) != 0 {
		t.Errorf("forgotten: %v, %d are left", err, len(k.byName))
	}
}

func TestWhatCannotBeAnApplicationIsRefused(t *testing.T) {
	var k Keeper
	for _, c := range []struct {
		app  api.Application
		want error
	}{
		{api.Application{Name: "../up"}, daemon.ErrBadName},
		{api.Application{Name: "a", Made: []api.Applied{{Type: "route", Name: "r"}}}, api.ErrBadRequest},
		{api.Application{Name: "a", Made: []api.Applied{{Type: "kind"}}}, api.ErrBadRequest},
		{api.Application{Name: "a", Made: []api.Applied{{Type: "kind", Name: strings.Repeat("x", maxAppliedName+1)}}}, api.ErrBadRequest},
		{api.Application{Name: "a", Made: make([]api.Applied, api.MaxApplied+1)}, api.ErrBadRequest},
	} {
		if _, err := k.put(c.app); !errors.Is(err, c.want) {
			t.Errorf("%.40v: got %v, want %v", c.app, err, c.want)
		}
	}
	for i := range maxApplications {
		if _, err := k.put(api.Application{Name: fmt.Sprintf("a%d", i), Made: []api.Applied{{Type: "kind", Name: "k"}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := k.put(api.Application{Name: "one-more", Made: []api.Applied{{Type: "kind", Name: "k"}}}); !errors.Is(err, problem.ErrTooManyApplications) {
		t.Errorf("one too many: %v", err)
	}
}
