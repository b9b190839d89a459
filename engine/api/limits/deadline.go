package limits

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"

	"headway.dev/engine/api/stack"
	"headway.dev/manifests/guard"
)

// finishing is how long an answer that has begun at its request's deadline may
// take to end: handlers hear of the deadline as well, and then say so.
const finishing = 5 * time.Second

// WithDeadlines answers for handlers that do not by their request's deadline,
// which the context has. It takes the place of the library's filter, which
//
//   - cuts off a handler that is about to say itself that the time is over: the
//     client sees the end of the stream, and no Status;
//   - waits for a client that reads nothing of its answer, deadline or not;
//   - reports as an error each handler that outlives a client.
//
// running counts the handlers, which may outlive their requests.
func WithDeadlines(next http.Handler, long genericapirequest.LongRunningRequestCheck, s runtime.NegotiatedSerializer, running func(n int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := genericapirequest.RequestInfoFrom(ctx)
		if !ok {
			responsewriters.InternalError(w, r, errNoRequestInfo)
			return
		}
		if long(r, info) {
			next.ServeHTTP(w, r)
			return
		}
		answer := &timelyAnswer{w: w, header: w.Header().Clone()}
		ended := make(chan error, 1)
		request := r.Clone(ctx) // the handler may change its headers
		running(1)
		go func() {
			defer running(-1)
			ended <- guard.Call(ctx, "serve "+r.Method+" "+r.URL.Path, func() error {
				stack.Grow()
				return serveOrAbort(next, responsewriter.WrapForHTTP1Or2(answer), request)
			})
		}()
		select {
		case err := <-ended:
			conclude(w, err)
			return
		case <-ctx.Done():
		}
		over := errors.Is(ctx.Err(), context.DeadlineExceeded)
		if over && answer.refuse(http.ErrHandlerTimeout) {
			metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, http.StatusGatewayTimeout)
			responsewriters.RespondWithError(w, r, apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0), s)
			return
		}
		if over || late(r) {
			timer := time.NewTimer(finishing)
			defer timer.Stop()
			select {
			case err := <-ended:
				conclude(w, err)
				return
			case <-timer.C:
			}
		}
		answer.cut(ctx.Err())
		panic(http.ErrAbortHandler)
	})
}

// serveOrAbort makes an error of a handler's wish to abort its request, and
// passes other panics on.
func serveOrAbort(next http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		if abort, ok := value.(error); !ok || !errors.Is(abort, http.ErrAbortHandler) {
			panic(value)
		}
		err = http.ErrAbortHandler
	}()
	next.ServeHTTP(w, r)
	return nil
}

// conclude ends a request whose handler has ended, with an error if it panicked.
func conclude(w http.ResponseWriter, err error) {
	if err == nil {
		return
	}
	if !errors.Is(err, http.ErrAbortHandler) {
		answerPanic(w)
	}
	panic(http.ErrAbortHandler)
}

// timelyAnswer is what a handler writes to while its request may be answered
// by somebody else.
type timelyAnswer struct {
	w http.ResponseWriter
	// header is the handler's own until it begins to write.
	header http.Header
	// writing is held while w is written to, which lasts as long as the client
	// likes, and so never by who refuses.
	writing sync.Mutex

	mu      sync.Mutex
	begun   bool
	refused error
}

// Unwrap implements responsewriter.UserProvidedDecorator.
func (a *timelyAnswer) Unwrap() http.ResponseWriter { return a.w }

// Header implements http.ResponseWriter.
func (a *timelyAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *timelyAnswer) WriteHeader(status int) {
	a.writing.Lock()
	defer a.writing.Unlock()
	if first, err := a.begin(); err == nil && first {
		a.w.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (a *timelyAnswer) Write(p []byte) (int, error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	if _, err := a.begin(); err != nil {
		return 0, err
	}
	return a.w.Write(p)
}

// Flush implements http.Flusher.
func (a *timelyAnswer) Flush() {
	a.writing.Lock()
	defer a.writing.Unlock()
	if _, err := a.begin(); err == nil {
		_ = http.NewResponseController(a.w).Flush() // the next write tells of an error
	}
}

// begin says that the handler writes its answer; first, that it had not before.
func (a *timelyAnswer) begin() (first bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refused != nil {
		return false, a.refused
	}
	if first = !a.begun; first {
		a.begun = true
		maps.Copy(a.w.Header(), a.header)
	}
	return first, nil
}

// refuse lets the handler write no more, if it has written nothing yet.
func (a *timelyAnswer) refuse(why error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.begun {
		a.refused = why
	}
	return !a.begun
}

// cut lets the handler write no more, and ends a write that waits for the
// client.
func (a *timelyAnswer) cut(why error) {
	a.mu.Lock()
	a.refused = why
	a.mu.Unlock()
	// A writer without deadlines, as in tests, waits for nobody.
	_ = http.NewResponseController(a.w).SetWriteDeadline(time.Unix(1, 0))
	a.writing.Lock()
	defer a.writing.Unlock()
}
