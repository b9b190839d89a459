package limits

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"headway.dev/manifests/guard"
)

// Panics counts the panics of the process.
var Panics = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "headway_panics_total",
	Help: "Number of panics that were stopped at the boundary of a request, a reconcile, a pod or a loop.",
})

// RecoverPanics answers a request whose handler panics, reports the panic, and
// aborts the request as net/http does, because over HTTP/2 a client must not
// mistake half an answer for a complete one. For a handler that aborts on
// purpose, the reason was reported where it aborts, or its client is gone.
func RecoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			value := recover()
			if value == nil {
				return
			}
			if err, ok := value.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				guard.Report(r.Context(), fmt.Sprintf("serve %s %s", r.Method, r.URL.Path), value)
				answerPanic(w)
			}
			panic(http.ErrAbortHandler)
		}()
		next.ServeHTTP(w, r)
	})
}

func answerPanic(w http.ResponseWriter) {
	http.Error(w, "This request caused apiserver to panic. Look in the logs for details.", http.StatusInternalServerError)
}
