package convert

import (
	"encoding/base64"
	"time"
	"unicode/utf8"

	"wasmhost.example/api"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Optional returns t in UTC for a field that is left out where t is zero.
func Optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// SubscriptionsOf returns subscriptions as the API lists them; never nil.
func SubscriptionsOf(list []subscriber.Info) []api.Subscription {
	out := []api.Subscription{}
	for _, s := range list {
		out = append(out, api.Subscription{Publisher: s.Publisher.String(), Channel: s.Channel, Cursor: s.Cursor, Lag: s.Lag(), State: s.State,
			Reason: s.Reason, Expires: Optional(s.Expires)})
	}
	return out
}

// EventOf returns an event of a channel, or how many were lost before it, as the API
// sends it.
func EventOf(ev broker.Event) api.ChannelEvent {
	out := api.ChannelEvent{Sequence: ev.Sequence, Cursor: broker.Cursor{Birth: ev.Birth, Sequence: max(ev.Sequence, ev.Lost)}.String(), Lost: ev.Lost}
	if ev.Lost > 0 {
		return out
	}
	out.Time, out.Payload = time.Unix(0, ev.Time).UTC(), base64.StdEncoding.EncodeToString(ev.Payload)
	if !ev.From.IsZero() {
		out.From = ev.From.String()
	}
	if utf8.Valid(ev.Payload) {
		text := string(ev.Payload)
		out.Text = &text
	}
	return out
}

// RevocationOf returns a revocation with its text form. The error is that of encoding it.
func RevocationOf(r *identity.Revocation) (api.Revocation, error) {
	text, err := r.Text()
	return api.Revocation{Issuer: r.Issuer.String(), Floor: r.Floor, Revocation: text}, err
}
