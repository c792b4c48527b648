// Package s3 keeps backups in a store that speaks the S3 protocol.
package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"wasmhost.example/host/backup"
)

// ErrPlace says that a URL names no place in an S3 store.
var ErrPlace = errors.New("not a place in an S3 store")

// Config says which store, and where in it.
type Config struct {
	URL      string // s3://BUCKET/PREFIX
	Endpoint string // such as http://127.0.0.1:9000; empty: https://s3.amazonaws.com
	Region   string // empty: the store says
}

// Place is a prefix of a bucket. It implements backup.Objects: an object is durable
// once the store has said that it has it.
type Place struct {
	client         *minio.Client
	bucket, prefix string
}

// Open opens a place. The credentials are those of AWS's tools: the variables
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the file
// ~/.aws/credentials. It asks the store for nothing. Errors wrap ErrPlace.
func Open(c Config) (*Place, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %.200q; write s3://BUCKET/PREFIX", ErrPlace, c.URL)
	}
	if err := s3utils.CheckValidBucketName(u.Host); err != nil {
		return nil, fmt.Errorf("%w: %.200q: %w", ErrPlace, c.URL, err)
	}

	at, secure, err := endpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}

	keys := credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}})
	client, err := minio.New(at, &minio.Options{Creds: keys, Secure: secure, Region: c.Region})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPlace, err)
	}

	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Place{client, u.Host, prefix}, nil
}

func endpoint(text string) (host string, secure bool, err error) {
	if text == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", false, fmt.Errorf("%w: the endpoint %.200q; write https://HOST or http://HOST:PORT", ErrPlace, text)
	}
	return u.Host, u.Scheme == "https", nil
}

// Put implements backup.Objects.
func (p *Place) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	_, err := p.client.PutObject(ctx, p.bucket, p.prefix+name, r, size, minio.PutObjectOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return p.failed("storing", name, err)
	}
	return nil
}

// Open implements backup.Objects.
func (p *Place) Open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	o, err := p.client.GetObject(ctx, p.bucket, p.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, p.failed("reading", name, err)
	}

	info, err := o.Stat()
	if err != nil {
		return nil, 0, errors.Join(p.failed("reading", name, err), o.Close())
	}
	return o, info.Size, nil
}

// List implements backup.Objects.
func (p *Place) List(ctx context.Context, prefix string, fn func(string, int64) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing
	for o := range p.client.ListObjects(ctx, p.bucket, minio.ListObjectsOptions{Prefix: p.prefix + prefix, Recursive: true}) {
		if o.Err != nil {
			return p.failed("listing", prefix, o.Err)
		}

		name := strings.TrimPrefix(o.Key, p.prefix)
		if !backup.ValidName(name) {
			continue
		}
		if err := fn(name, o.Size); err != nil {
			return err
		}
	}

	return ctx.Err()
}

// Close implements backup.Objects.
func (p *Place) Close() error { return nil }

func (p *Place) failed(what, name string, err error) error {
	answer := minio.ToErrorResponse(err)
	if answer.StatusCode == http.StatusNotFound && answer.Code != "NoSuchBucket" {
		return fmt.Errorf("%w: %s is not in s3://%s/%s", backup.ErrNotFound, name, p.bucket, p.prefix)
	}

	kind := error(nil)
	switch {
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusUnauthorized:
		kind = backup.ErrDenied
	case answer.StatusCode == 0 && errors.As(err, new(net.Error)):
		kind = backup.ErrUnreachable
	}

	if kind != nil {
		return fmt.Errorf("%s %s in s3://%s/%s: %w: %w", what, name, p.bucket, p.prefix, kind, err)
	}
	return fmt.Errorf("%s %s in s3://%s/%s: %w", what, name, p.bucket, p.prefix, err)
}
