package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/history"
	"headway.dev/syncer/preview/budget"
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

// Handler serves the syncer's API under /headway/v1/: POST plan, rollback and
// sync, GET status, log, log/verify, blame, get and diff, as package wire has
// them, and the webhooks of Git servers (POST hooks/NAMESPACE/NAME), which must
// be open to everybody: they prove themselves. Errors are text with a status of
// 4xx or 5xx. The caller authenticates, authorizes the path, and says by
// WithUser who asks.
func (s *Syncer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /headway/v1/plan", answer(s.Plan))
	mux.HandleFunc("POST /headway/v1/rollback", s.serveRollback)
	mux.Handle("POST /headway/v1/hooks/{namespace}/{name}", newHooks(s))
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

func (s *Syncer) serveSync(w http.ResponseWriter, r *http.Request) {
	var req wire.SyncRequest
	if !readJSON(w, r, &req) {
		return
	}
	if v := r.URL.Query().Get("wait"); v != "" {
		req.Wait = v == "true" || v == "1"
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	err := s.Sync(r.Context(), req, func(ev wire.Event) error {
		if err := enc.Encode(ev); err != nil {
			return fmt.Errorf("stream progress: %w", err)
		}
		// Without flushing the client would see nothing until the end.
		_ = http.NewResponseController(w).Flush()
		return nil
	})
	if err != nil && r.Context().Err() == nil {
		http.Error(w, err.Error(), statusOf(err))
	}
}

// Sync fetches now and, if it waits, reports each step until everything that
// the fetch brought is applied and judged, or failed. The last event has Done
// set. An error of step ends it.
func (s *Syncer) Sync(ctx context.Context, req wire.SyncRequest, step func(wire.Event) error) error {
	var targets []*source.Source
	if src, err := s.sources.Permitted(ctx, rights.VerbSync, req.Source); err == nil {
		targets = append(targets, src)
	} else if req.Source != "" {
		return err
	} else {
		targets = s.sources.All()
	}
	if len(targets) == 0 {
		return errors.New("there is no GitRepository to sync")
	}
	targets, err := s.syncable(ctx, targets)
	if err != nil {
		return err
	}
	events, stop := s.Subscribe()
	defer stop()
	rounds := map[*source.Source]int{}
	for _, src := range targets {
		rounds[src], _, _ = src.Looks()
		s.mu.Lock()
		for _, ks := range flux.Followers(s.env.Store, src.Key) {
			if k := s.kustomizations[object.Key{GroupKind: flux.Kustomization, Namespace: ks.Namespace, Name: ks.Name}]; k != nil {
				k.again()
			}
		}
		s.mu.Unlock()
		src.Wake()
	}
	if !req.Wait {
		return step(wire.Event{Time: s.env.Now(), Phase: "fetch", Message: "requested", Done: true, OK: true})
	}
	// Events are only hints: the state is what counts, and is looked at again
	// now and then in case a hint was missed.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := map[string]string{}
	tell := func(ev wire.Event) error {
		if !concernsOne(targets, ev.Source) || ev.Kustomization != "" && !s.sees(ctx, ev.Kustomization) {
			return nil
		}
		return step(ev)
	}
	for {
		if done, last := s.synced(ctx, targets, rounds); done {
			// What led there was sent before, and may not have been read yet.
			for len(events) > 0 {
				if err := tell(<-events); err != nil {
					return err
				}
			}
			return step(last)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			for _, ev := range s.waiting(targets) {
				if told[ev.Kustomization] == ev.Message {
					continue
				}
				told[ev.Kustomization] = ev.Message
				if err := tell(ev); err != nil {
					return err
				}
			}
		case ev := <-events:
			if err := tell(ev); err != nil {
				return err
			}
		}
	}
}

// synced reports whether the sources were looked at since the given rounds, and
// what they brought is done with, and how. Of what the caller may not read it
// says only that it failed.
func (s *Syncer) synced(ctx context.Context, targets []*source.Source, rounds map[*source.Source]int) (bool, wire.Event) {
	last := wire.Event{Time: s.env.Now(), Phase: "verdict", Done: true, OK: true}
	fail := func(name, why string, names ...string) {
		if slices.ContainsFunc(names, func(name string) bool { return !s.sees(ctx, name) }) {
			if last.OK {
				last.Message = "a Kustomization failed that you may not read"
			}
			last.OK = false
			return
		}
		last.OK, last.Kustomization, last.Message = false, name, why
	}
	for _, src := range targets {
		n, revision, err := src.Looks()
		if n <= rounds[src] {
			return false, last
		}
		last.Revision = revision
		if err != nil {
			last.OK, last.Source, last.Message = false, src.Name(), err.Error()
			continue
		}
		for _, ks := range flux.Followers(s.env.Store, src.Key) {
			if ks.Spec.Suspend {
				continue
			}
			s.mu.Lock()
			k := s.kustomizations[object.Key{GroupKind: flux.Kustomization, Namespace: ks.Namespace, Name: ks.Name}]
			s.mu.Unlock()
			if k == nil {
				return false, last
			}
			k.mu.Lock()
			settled, ok, faults := k.settled, k.settledOK, k.faults
			k.mu.Unlock()
			if settled.Revision != revision || settled.Generation != ks.Generation {
				if dep := s.blockedBy(k, revision); dep != "" {
					fail(k.name(), "waits for "+dep+", which failed", dep, k.name())
					continue
				}
				return false, last
			}
			if !ok {
				lines := make([]string, len(faults))
				for i, f := range faults {
					lines[i] = f.Message
				}
				why := strings.Join(lines, "\n")
				if cur := k.get(); why == "" && cur != nil {
					if c := (flux.Conditions{List: &cur.Status.Conditions}).Get(meta.ReadyCondition); c != nil {
						why = c.Message
					}
				}
				fail(k.name(), why, k.name())
			}
		}
	}
	return true, last
}

// blockedBy is the Kustomization that failed to apply the revision and that k
// waits for, itself or by way of others; empty if there is none.
func (s *Syncer) blockedBy(k *kustomization, revision string) string {
	seen := map[object.Key]bool{}
	for wait := []*kustomization{k}; len(wait) > 0; wait = wait[1:] {
		wait[0].mu.Lock()
		deps := append(slices.Clone(wait[0].deps), wait[0].elder)
		wait[0].mu.Unlock()
		for _, key := range deps {
			s.mu.Lock()
			dep := s.kustomizations[key]
			s.mu.Unlock()
			if dep == nil || seen[key] {
				continue
			}
			seen[key] = true
			dep.mu.Lock()
			failed := dep.settled.Revision == revision && !dep.settledOK
			dep.mu.Unlock()
			if failed {
				return dep.name()
			}
			wait = append(wait, dep)
		}
	}
	return ""
}
