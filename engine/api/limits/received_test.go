package limits_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"headway.dev/engine/api/limits"
)

// counted counts what is read of a body.
type counted struct {
	io.Reader
	read int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

// TestReceivedBodies: a request that writes goes on when its body is there, as far
// as the limit, and its handler reads all of it. Of others nothing is kept in
// memory.
func TestReceivedBodies(t *testing.T) {
	const size = 100
	for name, tc := range map[string]struct {
		verb, user string
		long       bool
		there      int
	}{
		"writes":         {"create", "ada", false, size},
		"reads":          {"list", "ada", false, 0},
		"gets":           {"get", "ada", false, 0},
		"long":           {"create", "ada", true, 0},
		"nobody":         {"create", user.Anonymous, false, 0},
		"small limit":    {"update", "bob", false, 60},
		"not a resource": {"post", "ada", false, size},
	} {
		limit := int64(1000)
		if tc.there == 60 {
			limit = 60
		}
		body := &counted{Reader: strings.NewReader(strings.Repeat("x", size))}
		reached := false
		handler := limits.WithReceivedBodies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reached = true
			if body.read != tc.there {
				t.Errorf("%s: %d bytes were there, want %d", name, body.read, tc.there)
			}
			if all, err := io.ReadAll(r.Body); err != nil || len(all) != size {
				t.Errorf("%s: the handler read %d bytes, %v", name, len(all), err)
			}
		}), func(*http.Request, *genericapirequest.RequestInfo) bool { return tc.long }, limit)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		ctx := genericapirequest.WithRequestInfo(r.Context(), &genericapirequest.RequestInfo{Verb: tc.verb})
		ctx = genericapirequest.WithUser(ctx, &user.DefaultInfo{Name: tc.user})
		handler.ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
		if !reached {
			t.Errorf("%s: the request did not go on", name)
		}
	}
}
