package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// clientAttacks are requests that a program sends by mistake, or on purpose.
var clientAttacks = []attack{
	{
		name: "lost-id", tries: "ids that are misspelt, malformed, repeated: each would lose exactly-once",
		want: []string{"6 refused with 400"},
		run: requests("POST", "/v1/daemons/light/events", nil, "?id=order%zz", "?id=order-8%", "?id=a;b", "?Id=order-9", "?idd=order-9",
			"?id=x-1&id=x-2"),
	},
	{
		name: "rights-by-mistake", tries: "a token asked for with a parameter that is not there, and with none",
		want: []string{"4 refused with 400"},
		run:  requests("POST", "/v1/token", nil, "?right=look", "?rights=", "?rights=none&rights=all", "?Rights=none"),
	},
	{
		name: "loose-json", tries: "JSON that trails, repeats or changes case",
		want: []string{"5 refused with 400"},
		run: bodies("/v1/daemons", `{"kind":"counter","name":"t1"}{"kind":"counter","name":"t2"}`, `{"kind":"counter","name":"t3"} trailing`,
			`{"kind":"counter","name":"t4","name":"t5"}`, `{"kind":"counter","NAME":"t6"}`, `{"kind":"counter","name":"t7","limits":{"fuel":1,"fuel":2}}`),
	},
	{
		name: "prefix-of-a-stranger", tries: "an event, a grant and a stop by the beginning of somebody's id",
		want: []string{"404", "404", "404"},
		run:  prefixes,
	},
	{
		name: "name-like-an-id", tries: "daemons named like a whole origin and a whole entity id",
		want: []string{"2 refused with 400"},
		run: bodies("/v1/daemons", `{"kind":"counter","name":"0123456789abcdef"}`,
			`{"kind":"counter","name":"`+strings.Repeat("0123456789abcdef", 4)+`"}`),
	},
	{
		name: "one-shot-senders", tries: "70,000 plain posts without an id, then one more client",
		want: []string{"70000 answered", "200"},
		run:  oneShots,
	},
	{
		name: "body-without-end", tries: "a request whose body never comes, 200 times",
		want: []string{"held"},
		run:  silentBodies,
	},
}

// requests sends the same request with each query, by hand, and counts those refused
// with 400.
func requests(method, path string, body []byte, queries ...string) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		var list []string
		for _, q := range queries {
			list = append(list, fmt.Sprintf("%s %s%s HTTP/1.1\r\nHost: n\r\nContent-Length: %d\r\n\r\n%s", method, path, q, len(body), body))
		}
		return s.refused(ctx, list)
	}
}

func bodies(path string, list ...string) func(context.Context, *scene) (string, error) {
	return func(ctx context.Context, s *scene) (string, error) {
		var all []string
		for _, b := range list {
			all = append(all, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: n\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(b), b))
		}
		return s.refused(ctx, all)
	}
}

func (s *scene) refused(ctx context.Context, requests []string) (string, error) {
	n, other := 0, ""
	for _, r := range requests {
		said, err := s.one().raw(ctx, r)
		if err != nil {
			return "", err
		}
		if strings.HasPrefix(said, "400") {
			n++
		} else {
			line, _, _ := strings.Cut(r, "\r\n")
			other += fmt.Sprintf("; %s -> %s", line, said)
		}
	}
	return fmt.Sprintf("%d refused with 400%s", n, other), nil
}

func prefixes(ctx context.Context, s *scene) (string, error) {
	one := s.one()
	if err := one.spawn(ctx, "counter", "stranger", nil); err != nil {
		return "", err
	}
	b, err := one.must(ctx, "GET", "/v1/daemons/stranger", nil)
	if err != nil {
		return "", err
	}
	var d struct{ Origin string }
	if err := json.Unmarshal(b, &d); err != nil {
		return "", err
	}
	part := d.Origin[:5]
	var all []string
	for _, ask := range []struct {
		method, path, body string
	}{
		{"POST", "/v1/daemons/" + part + "/events?id=order/1", "pay"},
		{"POST", "/v1/daemons", `{"kind":"counter","name":"giver","may_send":["` + part + `"]}`},
		{"DELETE", "/v1/daemons/" + url.PathEscape(part), ""},
	} {
		said, err := one.say(ctx, ask.method, ask.path, []byte(ask.body))
		if err != nil {
			return "", err
		}
		all = append(all, said)
	}
	if after, err := one.must(ctx, "GET", "/v1/daemons/stranger", nil); err != nil || string(after) != string(b) {
		return strings.Join(all, "; "), fmt.Errorf("the stranger changed: %s, %v", after, err)
	}
	return strings.Join(all, "; "), nil
}
