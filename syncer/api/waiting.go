package api

import (
	"fmt"
	"slices"
	"strings"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// concernsOne reports whether an event is about one of the sources.
func concernsOne(targets []*source.Source, name string) bool {
	return slices.ContainsFunc(targets, func(src *source.Source) bool { return src.Name() == name })
}

// waiting tells, of each Kustomization of the sources that is not done with
// the newest commit, what it waits for.
func (s *API) waiting(targets []*source.Source) []wire.Event {
	var list []wire.Event
	for _, src := range targets {
		h, _ := src.Current()
		revision := h.Revision()
		for _, ks := range flux.Followers(s.Env.Store, src.Key) {
			state, runs := s.Loops.State(flux.KeyOf(ks))
			if !runs || ks.Spec.Suspend {
				continue
			}
			// What is not applied yet has not begun to be waited for.
			if state.Revision == revision || ks.Status.LastAppliedRevision != revision {
				continue
			}
			if open := s.unready(flux.KeyOf(ks), flux.InventoryOf(ks)); open != "" {
				list = append(list, wire.Event{
					Time: s.Env.Now(), Source: src.Name(), Kustomization: ks.Namespace + "/" + ks.Name, Phase: wire.PhaseHealth, Revision: revision, Message: "waiting for " + open,
				})
			}
		}
	}
	return list
}

// unready names the first objects that are not healthy, with the reason, and
// counts the rest.
func (s *API) unready(self object.Key, keys []object.Key) string {
	const most = 3
	var words []string
	n := 0
	reader := health.Indexed(s.Env.Store)
	for _, key := range keys {
		if key == self {
			continue
		}
		res := assess.Of(s.Env.Store.Get(key), reader)
		if res.Status == health.Current {
			continue
		}
		if n++; n <= most {
			words = append(words, flux.Describe(key)+": "+res.Message)
		}
	}
	if n > most {
		words = append(words, fmt.Sprintf("and %d more", n-most))
	}
	return strings.Join(words, "; ")
}
