package s3

import (
	"errors"
	"testing"
)

// A place is a bucket and a prefix; whatever else a URL says is refused.
func TestOpenReadsURLs(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	for url, want := range map[string]Place{
		"s3://bbb":       {bucket: "bbb"},
		"s3://bbb/":      {bucket: "bbb"},
		"s3://bbb/p/q/":  {bucket: "bbb", prefix: "p/q/"},
		"s3://bbb/p/q":   {bucket: "bbb", prefix: "p/q/"},
		"s3://bbb.c-d/p": {bucket: "bbb.c-d", prefix: "p/"},
	} {
		p, err := Open(Config{URL: url, Endpoint: "http://127.0.0.1:1"})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if p.bucket != want.bucket || p.prefix != want.prefix {
			t.Errorf("%s: got bucket %q, prefix %q, want %q, %q", url, p.bucket, p.prefix, want.bucket, want.prefix)
		}
	}
	for _, c := range []Config{{URL: "s3://b"}, {URL: "b/p"}, {URL: "s3:///p"}, {URL: "s3://id:secret@b/p"}, {URL: "s3://bbb/p?x=y"}, {URL: "http://b"},
		{URL: "s3://bbb", Endpoint: "127.0.0.1:9000"}, {URL: "s3://bbb", Endpoint: "http://h/path"}, {URL: "s3://bbb", Endpoint: "ftp://h"}} {
		if _, err := Open(c); !errors.Is(err, ErrPlace) {
			t.Errorf("%+v: got %v, want ErrPlace", c, err)
		}
	}
}
