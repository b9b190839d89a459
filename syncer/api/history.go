package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"headway.dev/syncer/fault"
	"headway.dev/syncer/wire"
)

const (
	// maxParameter bounds one parameter of a query, in bytes.
	maxParameter = 512
	// historyTimeout bounds the work for one question about history.
	historyTimeout = time.Minute
)

// handleHistory serves what only reads. Values of Secrets are never among the
// answers, whoever asks.
func (s *API) handleHistory(mux *http.ServeMux) {
	mux.HandleFunc("GET /headway/v1/log", s.serveLog)
	mux.HandleFunc("GET /headway/v1/log/verify", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.verification()) })
	mux.HandleFunc("GET /headway/v1/blame", ask(objectQuery, s.History.Blame))
	mux.HandleFunc("GET /headway/v1/why", ask(objectQuery, s.why))
	mux.HandleFunc("GET /headway/v1/get", ask(objectQuery, s.History.GetPast))
	mux.HandleFunc("GET /headway/v1/diff", ask(func(q url.Values) (wire.DiffRequest, error) {
		req := wire.DiffRequest{Source: q.Get("source"), Kustomization: q.Get("kustomization"), From: q.Get("from"), To: q.Get("to")}
		if req.To == "" {
			return req, fmt.Errorf("the parameter to is missing: name a commit")
		}
		return req, nil
	}, s.Diff))
}

func objectQuery(q url.Values) (wire.ObjectQuery, error) {
	out := wire.ObjectQuery{
		Kind: q.Get("kind"), Namespace: q.Get("namespace"), Name: q.Get("name"),
		Kustomization: q.Get("kustomization"), At: q.Get("at"),
	}
	if out.Kind == "" || out.Name == "" {
		return out, fmt.Errorf("give both kind and name")
	}
	return out, nil
}

// ask serves a question: parameters in, JSON out.
func ask[In, Out any](parse func(url.Values) (In, error), call func(context.Context, In) (Out, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		for name, values := range q {
			if len(values) > 1 || len(values[0]) > maxParameter {
				http.Error(w, fmt.Sprintf("the parameter %.40q is given twice or is longer than %d bytes", name, maxParameter), http.StatusBadRequest)
				return
			}
		}
		in, err := parse(q)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), historyTimeout)
		defer cancel()
		var out Out
		// A hostile repository must not end the process by way of a question.
		err = fault.Catch(func() (err error) {
			out, err = call(ctx, in)
			return err
		})
		if err != nil {
			refuseWith(w, err)
			return
		}
		writeJSON(w, out)
	}
}

func (s *API) serveLog(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, before := 100, int64(-1)
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			http.Error(w, fmt.Sprintf("limit %q is not a positive number", v), http.StatusBadRequest)
			return
		}
		limit = n
	}
	if v := q.Get("before"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			http.Error(w, fmt.Sprintf("before %q is not the seq of an entry", v), http.StatusBadRequest)
			return
		}
		before = n
	}
	if (q.Get("kind") == "") != (q.Get("name") == "") {
		http.Error(w, "give both kind and name, or neither", http.StatusBadRequest)
		return
	}
	list, err := s.Journal.Log(q.Get("kind"), q.Get("namespace"), q.Get("name"), before, maxLog)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if list = s.visibleLog(r.Context(), list); list == nil {
		list = []wire.LogEntry{}
	}
	writeJSON(w, list[:min(limit, len(list))])
}

// verification is the result of checking the journal.
func (s *API) verification() wire.Verification {
	n, err := s.Journal.Verify()
	v := wire.Verification{Entries: n, OK: err == nil}
	if err != nil {
		v.Error = err.Error()
	}
	return v
}
