package authz_test

import (
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// A node may read the settings of its name server, by their name alone, and change
// nothing of them.
func TestNodesReadTheSettingsOfNames(t *testing.T) {
	s, a := open(t, filepath.Join(t.TempDir(), "db"))
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, test := range []struct {
		verb, namespace, name, selected string
		want                            bool
	}{
		{"get", "kube-system", "headway-dns", "", true},
		{"list", "kube-system", "", "headway-dns", true},
		{"watch", "kube-system", "", "headway-dns", true},
		{"watch", "kube-system", "headway-dns", "headway-dns", true},
		{"list", "kube-system", "", "", false},
		{"watch", "kube-system", "", "other", false},
		{"get", "kube-system", "other", "headway-dns", false},
		{"get", "default", "headway-dns", "", false},
		{"list", "", "", "headway-dns", false},
		{"update", "kube-system", "headway-dns", "", false},
	} {
		attributes := authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}},
			Verb: test.verb, APIVersion: "v1", Resource: "configmaps", Namespace: test.namespace, Name: test.name, ResourceRequest: true,
		}
		if test.selected != "" {
			attributes.FieldSelectorRequirements = fields.OneTermEqualSelector("metadata.name", test.selected).Requirements()
		}
		decision, _, err := a.Authorize(t.Context(), attributes)
		if got := decision == authorizer.DecisionAllow; err != nil || got != test.want {
			t.Errorf("%+v: %v, %v", test, got, err)
		}
	}
}
