package access

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/api/server/problem"
)

// A request whose client is gone is carried on for a minute, and then says that its
// outcome is not known.
func TestARequestOutlastsItsClientForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, gone := context.WithCancel(context.Background())
		r := httptest.NewRequestWithContext(ctx, "POST", "/", nil)
		r, end := outlasting(r, caller{}, time.Now())
		defer end()
		gone()
		time.Sleep(outlastFor - time.Nanosecond)
		synctest.Wait()
		if err := r.Context().Err(); err != nil {
			t.Errorf("before the minute is over: %v", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if err := r.Context().Err(); err == nil {
			t.Error("after a minute it goes on")
		}
		if p := problem.Of(outcome(r, fmt.Errorf("waiting: %w", r.Context().Err()))); p.Code != "outcome-unknown" || p.Status != 504 {
			t.Errorf("the answer is %+v", p)
		}
	})
}
