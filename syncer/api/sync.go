package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/progress"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

func (s *API) serveSync(w http.ResponseWriter, r *http.Request) {
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
func (s *API) Sync(ctx context.Context, req wire.SyncRequest, step func(wire.Event) error) error {
	var targets []*source.Source
	if src, err := s.Sources.Permitted(ctx, rights.VerbSync, req.Source); err == nil {
		targets = append(targets, src)
	} else if req.Source != "" {
		return err
	} else {
		targets = s.Sources.All()
	}
	if len(targets) == 0 {
		return errors.New("there is no GitRepository to sync")
	}
	targets, err := s.syncable(ctx, targets)
	if err != nil {
		return err
	}
	events, stop := s.Env.Feed.Subscribe()
	defer stop()
	// A look that is under way may have missed what the caller has just pushed.
	rounds := map[*source.Source]int{}
	for _, src := range targets {
		rounds[src] = src.Begun()
		for _, ks := range flux.Followers(s.Env.Store, src.Key) {
			s.Loops.Again(flux.KeyOf(ks))
		}
		src.Wake()
	}
	if !req.Wait {
		return step(wire.Event{Time: s.Env.Now(), Phase: wire.PhaseFetch, Message: "requested", Done: true, OK: true})
	}
	// Events are only hints: the state is what counts, and is looked at again
	// now and then in case a hint was missed.
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	sent := map[string]string{}
	send := func(ev wire.Event) error {
		if !concernsOne(targets, ev.Source) || ev.Kustomization != "" && !s.sees(ctx, ev.Kustomization) {
			return nil
		}
		return step(ev)
	}
	for {
		if done, last := s.synced(ctx, targets, rounds); done {
			// What led there was sent before, and may not have been read yet.
			for len(events) > 0 {
				if err := send(<-events); err != nil {
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
				if sent[ev.Kustomization] == ev.Message {
					continue
				}
				sent[ev.Kustomization] = ev.Message
				if err := send(ev); err != nil {
					return err
				}
			}
		case ev := <-events:
			if err := send(ev); err != nil {
				return err
			}
		}
	}
}

// synced reports whether the sources were looked at after the given rounds, and
// what they brought is done with, and how. Of what the caller may not read it
// says only that it failed.
func (s *API) synced(ctx context.Context, targets []*source.Source, rounds map[*source.Source]int) (bool, wire.Event) {
	last := wire.Event{Time: s.Env.Now(), Phase: wire.PhaseVerdict, Done: true, OK: true}
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
		for _, ks := range flux.Followers(s.Env.Store, src.Key) {
			if ks.Spec.Suspend {
				continue
			}
			key, name := flux.KeyOf(ks), ks.Namespace+"/"+ks.Name
			state, ok := s.Loops.State(key)
			if !ok {
				return false, last
			}
			if state.Revision != revision || state.Generation != ks.Generation {
				if dep, ok := progress.BlockedBy(s.Loops, key, revision); ok {
					other := dep.Namespace + "/" + dep.Name
					fail(name, "waits for "+other+", which failed", other, name)
					continue
				}
				return false, last
			}
			if !state.OK {
				lines := make([]string, len(state.Faults))
				for i, f := range state.Faults {
					lines[i] = f.Message
				}
				why := strings.Join(lines, "\n")
				if cur, ok := s.Env.Store.Get(key).(*kustomizev1.Kustomization); ok && why == "" {
					if c := (flux.Conditions{List: &cur.Status.Conditions}).Get(meta.ReadyCondition); c != nil {
						why = c.Message
					}
				}
				fail(name, why, name)
			}
		}
	}
	return true, last
}
