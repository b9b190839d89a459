package authz_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"headway.dev/engine/api/authz"
	"headway.dev/manifests/nodepolicy"
)

// What is for a node alone nobody else gets, whatever rights they have.
func TestIsNode(t *testing.T) {
	for what, tc := range map[string]struct {
		caller user.Info
		want   bool
	}{
		"nobody":            {nil, false},
		"itself":            {&user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}}, true},
		"another node":      {&user.DefaultInfo{Name: "system:node:n2", Groups: []string{user.NodesGroup}}, false},
		"without the group": {&user.DefaultInfo{Name: "system:node:n1"}, false},
		"not by its name":   {&user.DefaultInfo{Name: "n1", Groups: []string{user.NodesGroup}}, false},
		"an administrator":  {&user.DefaultInfo{Name: "kubernetes-admin", Groups: []string{user.SystemPrivilegedGroup}}, false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, nodepolicy.Path("n1"), http.NoBody)
		if tc.caller != nil {
			r = r.WithContext(genericapirequest.WithUser(r.Context(), tc.caller))
		}
		w := httptest.NewRecorder()
		if got := authz.IsNode(w, r, "n1"); got != tc.want || (w.Code == http.StatusForbidden) == tc.want {
			t.Errorf("%s: %v, answered %d", what, got, w.Code)
		}
	}
}
