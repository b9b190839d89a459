package limits

import (
	"bytes"
	"io"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// WithReceivedBodies lets requests go on only when their body is there, up to
// limit bytes of it: one that comes in slowly does not take the place of others
// meanwhile. Long requests, whose body is a stream, go on at once, and so do
// those that only read, whose body is nobody's concern and is not counted by
// WithLimits, and those of nobody, which are refused without a look at the body.
func WithReceivedBodies(next http.Handler, long genericapirequest.LongRunningRequestCheck, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := genericapirequest.RequestInfoFrom(ctx)
		if !ok {
			responsewriters.InternalError(w, r, errNoRequestInfo)
			return
		}
		if u, ok := genericapirequest.UserFrom(ctx); ok && u.GetName() != user.Anonymous && r.Body != nil && r.Body != http.NoBody && !reading.Has(info.Verb) && !long(r, info) {
			r = r.WithContext(ctx) // a copy: others still look at the body that came in
			r.Body = receive(r.Body, limit)
		}
		next.ServeHTTP(w, r)
	})
}

// received is a body of which a part is there.
type received struct {
	io.Reader
	io.Closer
}

// receive reads a body up to its end, its error or limit. Whoever reads what it
// returns gets the same bytes and the same error.
func receive(body io.ReadCloser, limit int64) io.ReadCloser {
	var there bytes.Buffer
	_, err := there.ReadFrom(io.LimitReader(body, limit))
	if err != nil {
		return received{io.MultiReader(&there, failed{err}), body}
	}
	return received{io.MultiReader(&there, body), body}
}

// failed is the rest of a body that did not come in.
type failed struct{ err error }

// Read implements io.Reader.
func (f failed) Read([]byte) (int, error) { return 0, f.err }
