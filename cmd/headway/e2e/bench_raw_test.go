package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"headway.dev/cmd/headway/e2e"
)

// raw sends requests and reads answers as bytes, so that a benchmark measures
// little of its own client.
type raw struct {
	*http.Client
	host string
}

// newRaw is the administrator, or, if named, another user with all rights.
func newRaw(b *testing.B, c *e2e.Cluster, user ...string) *raw {
	b.Helper()
	var config *rest.Config
	c.Eventually(time.Minute, "there is a kubeconfig", func() (err error) {
		config, err = c.Config()
		return err
	})
	config = rest.CopyConfig(config)
	if len(user) > 0 {
		config.Impersonate = rest.ImpersonationConfig{UserName: user[0], Groups: []string{"system:masters"}}
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		b.Fatal(err)
	}
	return &raw{Client: client, host: strings.TrimSuffix(config.Host, "/")}
}

// send returns the body of an answer, or an error if it is none of 2xx. The media
// type is that of the body, or that of the answer if there is no body.
func (r *raw) send(method, path, media string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, r.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	switch {
	case len(body) == 0:
		request.Header.Set("Accept", media)
	case media == "":
		request.Header.Set("Content-Type", "application/json")
	default:
		request.Header.Set("Content-Type", media)
	}
	answer, err := r.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	got, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %.300s", method, path, answer.Status, got)
	}
	return got, err
}

func (r *raw) must(b *testing.B, method, path, body string) {
	b.Helper()
	if !json.Valid([]byte(body)) {
		b.Fatalf("no JSON: %.300s", body)
	}
	media := ""
	if method == http.MethodPatch {
		media = "application/merge-patch+json"
	}
	if _, err := r.send(method, path, media, []byte(body)); err != nil {
		b.Fatal(err)
	}
}

// skipLine reads an event of a watch in JSON.
func skipLine(r *bufio.Reader) error {
	_, err := r.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = r.ReadSlice('\n')
	}
	return err
}

// skipFrame reads an event of a watch in protobuf.
func skipFrame(r *bufio.Reader) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return err
	}
	_, err := r.Discard(int(binary.BigEndian.Uint32(size[:])))
	return err
}
