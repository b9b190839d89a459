package limits

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A request's body has bodyGrace to come in, and a second more for every
// bodyRate bytes of it.
const (
	bodyGrace = 15 * time.Second
	bodyRate  = 32 << 10
)

// WithBodyDeadline ends requests whose body arrives too slowly, or not at all.
// They would hold their slot until the request's own deadline, and those
// without one for ever. A handler that reads such a body gets a Timeout error,
// and net/http, which reads what a handler leaves, does not wait for it either.
func WithBodyDeadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			body := &timelyBody{ReadCloser: r.Body, conn: http.NewResponseController(w), began: time.Now()}
			body.extend()
			r.Body = body
			defer body.leave()
		}
		next.ServeHTTP(w, r)
	})
}

type timelyBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	began time.Time
	// mu is held while the deadline is set: the handler may have been left
	// behind by its own deadline, and still read when the response has ended.
	mu       sync.Mutex
	read     int64
	deadline time.Time
	// ended says that the deadline is no longer set, whole that there is no more
	// of the body, or that it is no longer ours.
	ended, whole bool
}

// Read implements io.Reader.
func (b *timelyBody) Read(p []byte) (int, error) {
	b.extend()
	n, err := b.ReadCloser.Read(p)
	b.mu.Lock()
	b.read += int64(n)
	b.mu.Unlock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.leave()
		err = apierrors.NewTimeoutError(fmt.Sprintf("the body of the request came in too slowly: %d bytes in %s", b.read, time.Since(b.began).Round(time.Second)), 0)
	case err != nil:
		b.done()
	}
	return n, err
}

// extend gives the body the time that it has for what has come in of it, and
// changes nothing if that is what it has: a handler may have set an earlier end.
func (b *timelyBody) extend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	deadline := b.began.Add(bodyGrace + time.Duration(b.read/bodyRate)*time.Second)
	if b.ended || deadline.Equal(b.deadline) {
		return
	}
	b.deadline = deadline
	if b.conn.SetReadDeadline(deadline) != nil {
		b.ended, b.whole = true, true // a connection that was taken over has its own rules
	}
}

// done takes the deadline off: what comes after the body is the next request,
// or the end of the connection, by which a handler learns that its client left.
func (b *timelyBody) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended, b.whole = true, true
		_ = b.conn.SetReadDeadline(time.Time{}) // or the connection was taken over
	}
}

// leave leaves the deadline on for the rest of a body that nobody reads.
func (b *timelyBody) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
}

// Close implements io.Closer; it may read what is left.
func (b *timelyBody) Close() error {
	b.extend()
	defer b.done()
	return b.ReadCloser.Close()
}

// late reports whether the body of a request was not there in time. Over HTTP/1
// the request's context ends with that, as it does when the client goes away.
func late(r *http.Request) bool {
	b, ok := r.Body.(*timelyBody)
	if !ok {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.whole && !time.Now().Before(b.deadline)
}
