package limits

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// How many requests that write may be under way at once, whose bodies are there, as kube-apiserver's --max-mutating-requests-inflight has it. One user
// may have a quarter, also of those whose bodies come in; who is over a limit waits for a moment and is then told to
// try again.
const (
	maxWriting  = 200
	userWriting = maxWriting / 4
	// userLong bounds the long requests of one user: watches, logs, streams,
	// and those of our own API.
	userLong = 1000
	// anonymousLong bounds those of one address without a user: webhooks.
	anonymousLong = 20
	// maxQueued and maxWait bound who waits at one limit.
	maxQueued = 200
	maxWait   = 10 * time.Second
)

// reading are the verbs of requests whose body nobody reads.
var reading = sets.New("get", "list", "watch")

var errNoRequestInfo = errors.New("no RequestInfo found in the context, handler chain must be wrong")

// limits keeps users from taking all of the server's memory, and its time before
// engine/api/fairness lets them take turns. What the process itself asks,
// administrators and nodes never wait behind users: they are not counted among
// them. A node has limits of its own.
type limits struct {
	writing *turnstile
	bodies  budget

	mu    sync.Mutex
	users map[string]*userLimits
}

// userLimits are those of one user while it has requests under way.
type userLimits struct {
	writing, long *turnstile
	requests      int
}

// WithLimits limits the numbers of long requests and of those that write, and lets
// the latter go on only when their body is there, up to limit bytes of it: one that
// comes in slowly takes the place of others neither here nor later, but only memory,
// which is limited by itself. Long requests, whose body is a stream, go on at once,
// and so do those that only read, whose body is nobody's concern, and those of
// nobody, which are refused without a look at the body.
func WithLimits(next http.Handler, long genericapirequest.LongRunningRequestCheck, limit int64) http.Handler {
	l := &limits{writing: newTurnstile(maxWriting), users: map[string]*userLimits{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := genericapirequest.RequestInfoFrom(ctx)
		if !ok {
			responsewriters.InternalError(w, r, errNoRequestInfo)
			return
		}
		u, known := genericapirequest.UserFrom(ctx)
		known = known && u.GetName() != user.Anonymous
		streams := long(r, info)
		writes := !streams && !reading.Has(info.Verb)
		var body *charge // nil: it is not limited
		if _, inside := Inside(ctx); !inside && (!known || !slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup)) {
			key := requester(r, u)
			mine := l.begin(key, !known)
			defer l.end(key)
			var gate *turnstile
			switch {
			case streams:
				gate = mine.long
			case writes:
				gate = mine.writing
			}
			if gate != nil {
				if !gate.enter(ctx) {
					refuse(w)
					return
				}
				defer gate.leave()
			}
			body = l.bodies.of(key, known && slices.Contains(u.GetGroups(), user.NodesGroup))
			defer body.end()
		}
		if writes && known && r.Body != nil && r.Body != http.NoBody {
			there, ok := receive(r.Body, limit, body)
			if !ok {
				refuse(w)
				return
			}
			r = r.WithContext(ctx) // a copy: others still look at the body that came in
			r.Body = there
		}
		if writes && body != nil && !body.alone {
			if !l.writing.enter(ctx) {
				refuse(w)
				return
			}
			defer l.writing.leave()
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
}

// requester is whom a request is counted for: its user, or its address if it
// tells none.
func requester(r *http.Request, u user.Info) string {
	if u != nil && u.GetName() != user.Anonymous {
		return "user " + u.GetName()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "address " + host
}

func (l *limits) begin(key string, anonymous bool) *userLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	u := l.users[key]
	if u == nil {
		long := userLong
		if anonymous {
			long = anonymousLong
		}
		u = &userLimits{writing: newTurnstile(userWriting), long: newTurnstile(long)}
		l.users[key] = u
	}
	u.requests++
	return u
}

func (l *limits) end(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.users[key]; u.requests > 1 {
		u.requests--
		return
	}
	delete(l.users, key)
}

// turnstile lets a number of requests through at a time.
type turnstile struct {
	inside chan struct{}
	queued atomic.Int32
}

func newTurnstile(n int) *turnstile { return &turnstile{inside: make(chan struct{}, n)} }

// enter reports whether the request may go on; it waits a moment for that.
func (t *turnstile) enter(ctx context.Context) bool {
	select {
	case t.inside <- struct{}{}:
		return true
	default:
	}
	defer t.queued.Add(-1)
	if t.queued.Add(1) > maxQueued {
		return false
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case t.inside <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (t *turnstile) leave() { <-t.inside }
