package engine

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"headway.dev/engine/policy"
	"headway.dev/manifests/nodepolicy"
)

// policyPulse is how often a node is told that the server is there: one that hears
// nothing for longer asks anew.
const policyPulse = 20 * time.Second

// servePolicies tells a node what NetworkPolicies mean for its pods, until the request
// ends. Who asks has to be the node itself, whatever rights others have: the rules and
// addresses of all pods are in there. self reports that, or else refuses.
func servePolicies(index *policy.Index, self func(w http.ResponseWriter, r *http.Request, node string) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, nodepolicy.Prefix), nodepolicy.Suffix)
		if !ok || name == "" || strings.Contains(name, "/") {
			http.NotFound(w, r)
			return
		}
		if !self(w, r, name) {
			return
		}
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "policies of a node are only read", http.StatusMethodNotAllowed)
			return
		}
		view := index.Open(name)
		defer view.Close()
		w.Header().Set("Content-Type", "application/json")
		out, flush := json.NewEncoder(w), http.NewResponseController(w)
		pulse := time.NewTicker(policyPulse)
		defer pulse.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-view.Changed:
			case <-pulse.C:
			}
			if out.Encode(view.Next()) != nil || flush.Flush() != nil {
				return // the node has gone
			}
		}
	}
}
