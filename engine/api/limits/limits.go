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

// How many requests that write may be under way at once, whose bodies are in
// memory, as kube-apiserver's --max-mutating-requests-inflight has it. One user
// may have a quarter; who is over a limit waits for a moment and is then told to
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

	mu    sync.Mutex
	users map[string]*userLimits
}

// userLimits are those of one user while it has requests under way.
type userLimits struct {
	writing, long *turnstile
	requests      int
}

// WithLimits limits the numbers of long requests and of those that write.
func WithLimits(next http.Handler, long genericapirequest.LongRunningRequestCheck) http.Handler {
	l := &limits{writing: newTurnstile(maxWriting), users: map[string]*userLimits{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := genericapirequest.RequestInfoFrom(ctx)
		if !ok {
			responsewriters.InternalError(w, r, errNoRequestInfo)
			return
		}
		u, ok := genericapirequest.UserFrom(ctx)
		if _, inside := Inside(ctx); inside || ok && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
			next.ServeHTTP(w, r)
			return
		}
		key, shared := requester(r, u), !ok || !slices.Contains(u.GetGroups(), user.NodesGroup)
		mine := l.begin(key, !ok || u.GetName() == user.Anonymous)
		defer l.end(key)
		var gates []*turnstile
		switch {
		case long(r, info):
			gates = []*turnstile{mine.long}
		case !reading.Has(info.Verb):
			gates = []*turnstile{mine.writing, l.writing}
		}
		if !shared && len(gates) > 1 {
			gates = gates[:1]
		}
		for _, gate := range gates {
			if !gate.enter(ctx) {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "Too many requests, please try again later.", http.StatusTooManyRequests)
				return
			}
			defer gate.leave()
		}
		next.ServeHTTP(w, r)
	})
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
