package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/syncer/env"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/history"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/preview/budget"
	"headway.dev/syncer/progress"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

const (
	// maxBody bounds a request, in bytes; the files of a plan are in it.
	maxBody = 64 << 20
	// maxLog bounds the entries of one answer.
	maxLog = 1000
)

// Options are what the API answers from. Plan, Diff, Why and Rollback answer the
// requests of those names.
type Options struct {
	Env     *env.Env
	Rights  rights.Rights
	Sources *source.Set
	Journal *journal.Journal
	History *history.History
	Loops   progress.Loops

	Plan     func(context.Context, wire.PlanRequest) (wire.Plans, error)
	Diff     func(context.Context, wire.DiffRequest) (wire.Plans, error)
	Why      func(context.Context, wire.ObjectQuery) (wire.Why, error)
	Rollback func(context.Context, wire.RollbackRequest) (wire.RollbackResult, error)
}

// API answers requests.
type API struct{ Options }

// New returns an API.
func New(o Options) *API { return &API{o} }

// Handler serves the syncer's API under /headway/v1/: POST plan, rollback and
// sync, GET status, log, log/verify, blame, get, diff and why, as package wire
// has them, and the webhooks of Git servers (POST hooks/NAMESPACE/NAME), which must
// be open to everybody: they prove themselves. Errors are text with a status of
// 4xx or 5xx. The caller authenticates, authorizes the path, and says by
// [rights.WithUser] who asks.
func (s *API) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /headway/v1/plan", answer(s.Plan))
	mux.HandleFunc("POST /headway/v1/rollback", s.serveRollback)
	mux.Handle("POST /headway/v1/hooks/{namespace}/{name}", newHooks(s.Env.Store, s.Sources))
	mux.HandleFunc("POST /headway/v1/sync", s.serveSync)
	mux.HandleFunc("GET /headway/v1/status", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, s.visibleStatus(r.Context(), s.Status())) })
	s.handleHistory(mux)
	return mux
}

// answer serves one call: JSON in, JSON out.
func answer[In, Out any](call func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in In
		if !readJSON(w, r, &in) {
			return
		}
		out, err := call(r.Context(), in)
		if err != nil {
			refuseWith(w, err)
			return
		}
		writeJSON(w, out)
	}
}

// refuseWith answers with an error, and when to try again if that may help.
func refuseWith(w http.ResponseWriter, err error) {
	if statusOf(err) == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "2")
	}
	http.Error(w, err.Error(), statusOf(err))
}

func statusOf(err error) int {
	if errors.As(err, new(*budget.BusyError)) {
		return http.StatusTooManyRequests
	}
	if apierrors.IsForbidden(err) {
		return http.StatusForbidden
	}
	var conflict *write.ConflictError
	var checkedOut *write.CheckedOutError
	if errors.As(err, &conflict) || errors.As(err, &checkedOut) || errors.Is(err, write.ErrMoved) || errors.Is(err, write.ErrNothingToRevert) {
		return http.StatusConflict
	}
	if history.IsMissing(err) {
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, fmt.Sprintf("the request is larger than %d bytes", tooLarge.Limit), http.StatusRequestEntityTooLarge)
		return false
	case err != nil:
		http.Error(w, "decode the request: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// Nobody is left to tell when this fails.
	_ = json.NewEncoder(w).Encode(v)
}
