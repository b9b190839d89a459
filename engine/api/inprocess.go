package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	restclient "k8s.io/client-go/rest"

	"headway.dev/engine/api/limits"
	"headway.dev/engine/api/registry"
	"headway.dev/manifests/guard"
)

// InProcess returns a client configuration for a part of this process that
// acts as user, a member of groups. Requests go through the whole filter chain
// but over no connection; they wait until Run has started and fail once it has
// ended.
func (s *Server) InProcess(name string, groups ...string) *restclient.Config {
	return &restclient.Config{
		Host:      "https://headway.internal",
		Transport: &transport{server: s, from: s.ready, user: &user.DefaultInfo{Name: name, Groups: slices.Clone(groups)}},
		ContentConfig: restclient.ContentConfig{
			ContentType:        runtime.ContentTypeProtobuf,
			AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
		QPS: -1, // the server limits what is in flight
	}
}

// Review answers what a SubjectAccessReview asks, for parts of this process.
func (s *Server) Review(ctx context.Context, spec authorizationv1.SubjectAccessReviewSpec) (allowed bool, err error) {
	return registry.Review(ctx, s.auth, spec)
}

// loopback is InProcess for the server itself, which works before it is ready.
func (s *Server) loopback() *restclient.Config {
	c := s.InProcess(user.APIServerUser, user.SystemPrivilegedGroup)
	c.Transport.(*transport).from = s.started
	return c
}

func inProcessUser(r *http.Request) (*authenticator.Response, bool, error) {
	u, ok := limits.Inside(r.Context())
	if !ok {
		return nil, false, nil
	}
	return &authenticator.Response{User: u}, true, nil
}

type transport struct {
	server *Server
	// from is closed once requests are served.
	from <-chan struct{}
	user user.Info
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-t.from:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	// The handler outlives RoundTrip while the body is read, and ends with the
	// caller's context, with the body's Close, or with the server.
	ctx, cancel := context.WithCancel(limits.WithInside(r.Context(), t.user))
	done, ok := t.server.requests.start(cancel)
	if !ok {
		cancel()
		return nil, errors.New("the API server is shutting down")
	}
	request := r.Clone(ctx)
	request.RequestURI = r.URL.RequestURI()
	request.RemoteAddr = "127.0.0.1:0"
	request.Proto, request.ProtoMajor, request.ProtoMinor = "HTTP/2.0", 2, 0
	if request.Body == nil {
		request.Body = http.NoBody
	}
	w := &writer{ctx: ctx, request: r, header: http.Header{}, cancel: cancel, response: make(chan *http.Response, 1), aborted: make(chan struct{})}
	go func() {
		defer done()
		defer request.Body.Close()
		guard.Do(ctx, "serve in process", func() { t.server.serve(w, request) })
	}()
	select {
	case response := <-w.response:
		return response, nil
	case <-w.aborted:
		cancel()
		return nil, errAborted
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
}

// errAborted is what a client gets whose request's handler aborted it. Over a
// network it would be the end of the stream.
var errAborted = errors.New("the API server aborted the request")

// serve is what net/http does around a handler: a panic ends the request, and
// not the process.
func (s *Server) serve(w *writer, r *http.Request) {
	defer func() {
		if recover() != nil { // recoverPanics has told it
			w.abort()
		}
	}()
	s.handler.ServeHTTP(w, r)
	w.finish()
}

// writer collects a response. The first Flush, or a body that grows large,
// hands it to the client as a stream; otherwise the client gets it whole.
type writer struct {
	ctx      context.Context //nolint:containedctx // the request's; the writer ends with it
	request  *http.Request
	cancel   context.CancelFunc
	response chan *http.Response
	aborted  chan struct{}

	mu     sync.Mutex
	header http.Header
	status int
	body   bytes.Buffer
	stream *io.PipeWriter
}

// wholeBody is up to where a response is held back to be handed over whole.
const wholeBody = 1 << 20

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(status)
}

func (w *writer) writeHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.writeHeader(http.StatusOK)
	if w.stream == nil {
		n, err := w.body.Write(p)
		if w.body.Len() > wholeBody {
			w.startStream()
		}
		w.mu.Unlock()
		return n, err
	}
	stream := w.stream
	w.mu.Unlock()
	// Blocks until the client reads, so not under the lock.
	n, err := stream.Write(p)
	if err != nil && w.ctx.Err() != nil {
		// The client is gone, of which the handler hears by its context. An
		// error would be logged for every watch that ends.
		return len(p), nil //nolint:nilerr // see above
	}
	return n, err
}

// Flush implements http.Flusher.
func (w *writer) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	if w.stream == nil {
		w.startStream()
	}
}

// SetWriteDeadline is for http.ResponseController. Only a time in the past has
// an effect: it ends a write that waits for the client.
func (w *writer) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream != nil && at.Before(time.Now()) {
		_ = w.stream.CloseWithError(errAborted) // never fails
	}
	return nil
}

// CloseNotify implements http.CloseNotifier, without which the library does
// not stream.
func (w *writer) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.ctx, func() { gone <- true })
	return gone
}

func (w *writer) startStream() {
	reader, stream := io.Pipe()
	w.stream = stream
	// A client that goes away without Close must not hold up the handler.
	context.AfterFunc(w.ctx, func() { _ = stream.CloseWithError(context.Cause(w.ctx)) })
	first := bytes.NewReader(bytes.Clone(w.body.Bytes()))
	w.body = bytes.Buffer{}
	w.respond(io.MultiReader(first, reader), reader, -1)
}

// finish ends the response: it hands over one that was not streamed.
func (w *writer) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	// A handler that ends because its client is gone may have said half of it.
	gone := context.Cause(w.ctx)
	if w.stream != nil {
		_ = w.stream.CloseWithError(gone) // never fails
		return
	}
	if gone != nil {
		return // the client's wait has ended
	}
	w.respond(bytes.NewReader(w.body.Bytes()), nil, int64(w.body.Len()))
}

// abort ends a response that is not complete.
func (w *writer) abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream != nil {
		_ = w.stream.CloseWithError(errAborted) // never fails
		return
	}
	close(w.aborted)
}

func (w *writer) respond(body io.Reader, stream *io.PipeReader, length int64) {
	w.response <- &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: w.header.Clone(), ContentLength: length, Request: w.request,
		Body: &responseBody{Reader: body, stream: stream, cancel: w.cancel},
	}
}

type responseBody struct {
	io.Reader
	stream *io.PipeReader
	cancel context.CancelFunc
}

// Close implements io.Closer; it ends the request.
func (b *responseBody) Close() error {
	b.cancel()
	if b.stream != nil {
		return b.stream.Close()
	}
	return nil
}

// inProcessRequests owns the goroutines of in-process requests.
type inProcessRequests struct {
	mu      sync.Mutex
	running map[int]context.CancelFunc
	next    int
	closed  bool
	group   sync.WaitGroup
}

func (r *inProcessRequests) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = map[int]context.CancelFunc{}
}

// start registers a request that cancel ends. done is to be called at its end.
func (r *inProcessRequests) start(cancel context.CancelFunc) (done func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false
	}
	r.next++
	id := r.next
	r.running[id] = cancel
	r.group.Add(1)
	return func() {
		r.mu.Lock()
		delete(r.running, id)
		r.mu.Unlock()
		r.group.Done()
	}, true
}

// close ends all requests and refuses new ones.
func (r *inProcessRequests) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, cancel := range r.running {
		cancel()
	}
}

func (r *inProcessRequests) wait() { r.group.Wait() }
