// Package outbound bounds what the API server takes from those whom it asks about
// users and their rights.
package outbound

import (
	"fmt"
	"io"
	"net/http"
)

// WithBoundedAnswers lets nobody who is asked answer more than most bytes.
func WithBoundedAnswers(next http.RoundTripper, most int64) http.RoundTripper {
	return answers{next, most}
}

type answers struct {
	next http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := a.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	response.Body = &bounded{ReadCloser: response.Body, left: a.most, most: a.most}
	return response, nil
}

// bounded fails once more was read than may be.
type bounded struct {
	io.ReadCloser
	left, most int64
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("the answer is larger than %d bytes", b.most)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("the answer is larger than %d bytes", b.most)
	}
	return n, err
}
