package access

import (
	"net/http"
	"testing"
	"time"

	"wasmhost.example/api/server/internal/web"
)

// What is remembered under keys is bounded, and forgotten after a day.
func TestAnswersAreBounded(t *testing.T) {
	var a answers
	now := time.Unix(1e9, 0)
	put := func(key string, body int) {
		k := &keptAnswer{key: key, at: now, body: make([]byte, body)}
		if old, err := a.begin(k); err != nil || old != nil {
			t.Fatal(key, old, err)
		}
		a.end(k, 200, http.Header{}, true)
	}
	for i := range 2 * maxKeys {
		put(web.Number(uint64(i)), 100)
	}
	if len(a.byKey) > maxKeys || len(a.order) != len(a.byKey) || a.bytes != 100*len(a.order) {
		t.Errorf("%d keys, %d in order, %d bytes", len(a.byKey), len(a.order), a.bytes)
	}
	for i := range 200 {
		put("large "+web.Number(uint64(i)), maxKeptAnswer)
	}
	if a.bytes > maxKeptAnswers+maxKeptAnswer {
		t.Errorf("%d bytes are kept", a.bytes)
	}
	now = now.Add(keysKept + time.Second)
	put("later", 1)
	if len(a.byKey) != 1 || a.bytes != 1 {
		t.Errorf("after a day: %d keys, %d bytes", len(a.byKey), a.bytes)
	}
}
