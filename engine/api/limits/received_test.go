package limits_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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
		handler := limits.WithLimits(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
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

// held is a body that comes in no further once its first bytes are there.
type held struct {
	first   io.Reader
	waiting chan<- struct{}
	free    <-chan struct{}
	once    sync.Once
}

// Read implements io.Reader.
func (h *held) Read(p []byte) (int, error) {
	if n, _ := h.first.Read(p); n > 0 {
		return n, nil
	}
	h.once.Do(func() {
		h.waiting <- struct{}{}
		<-h.free
	})
	return 0, io.EOF
}

// TestSlowBodies: users whose bodies do not come in keep no places from others, and
// each may have a part of the memory for bodies; when all of that is taken, small
// bodies come in all the same.
func TestSlowBodies(t *testing.T) {
	defer func(bytes int64) { limits.ReceivedBytes = bytes }(limits.ReceivedBytes)
	limits.ReceivedBytes = 8 << 20
	handler := limits.WithLimits(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}), func(*http.Request, *genericapirequest.RequestInfo) bool { return false }, 3<<20)
	send := func(name string, groups []string, body io.Reader) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		ctx := genericapirequest.WithRequestInfo(r.Context(), &genericapirequest.RequestInfo{Verb: "create"})
		ctx = genericapirequest.WithUser(ctx, &user.DefaultInfo{Name: name, Groups: groups})
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(ctx))
		return w.Code
	}
	waiting, free := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	hold := func(users, requests, size int) {
		text := strings.Repeat("x", size)
		for i := range users {
			for range requests {
				slow.Go(func() {
					send(fmt.Sprintf("mallory-%d-%d", size, i), nil, &held{first: strings.NewReader(text), waiting: waiting, free: free})
				})
			}
		}
		for range users * requests {
			<-waiting
		}
	}
	// More than there are places for all.
	hold(6, 50, 1)
	if got := send("ada", nil, strings.NewReader(strings.Repeat("x", 1<<20))); got != http.StatusOK {
		t.Errorf("another user writes: %d", got)
	}
	// Each has as much as one may have.
	const most = 1<<20 - 512
	hold(4, 2, most)
	if got := send(fmt.Sprintf("mallory-%d-0", most), nil, strings.NewReader(strings.Repeat("x", 4<<10))); got != http.StatusTooManyRequests {
		t.Errorf("one who has all that one may have: %d", got)
	}
	for name, tt := range map[string]struct {
		groups []string
		size   int
		want   int
	}{
		"ada":           {nil, 1 << 10, http.StatusOK},
		"bob":           {nil, 1 << 20, http.StatusTooManyRequests},
		"system:node:a": {[]string{user.NodesGroup}, 1 << 20, http.StatusOK},
		"admin":         {[]string{user.SystemPrivilegedGroup}, 1 << 20, http.StatusOK},
	} {
		if got := send(name, tt.groups, strings.NewReader(strings.Repeat("x", tt.size))); got != tt.want {
			t.Errorf("%s sends %d bytes: %d, want %d", name, tt.size, got, tt.want)
		}
	}
	close(free)
	slow.Wait()
	if got := send("bob", nil, strings.NewReader(strings.Repeat("x", 1<<20))); got != http.StatusOK {
		t.Errorf("when all has come in: %d", got)
	}
}
