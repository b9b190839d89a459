package authz_test

import (
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"headway.dev/engine/api/authz"
	"headway.dev/manifests/nodepolicy"
)

// A node reads what NetworkPolicies mean for its own pods, and for those of no other.
func TestNodesReadTheirPolicies(t *testing.T) {
	node := authz.Node{}
	nodes := []string{user.NodesGroup}
	for _, tc := range []struct {
		name, path, verb string
		groups           []string
		want             authorizer.Decision
	}{
		{"system:node:n1", nodepolicy.Path("n1"), "get", nodes, authorizer.DecisionAllow},
		{"system:node:n1", nodepolicy.Path("n1"), "post", nodes, authorizer.DecisionNoOpinion},
		{"system:node:n1", nodepolicy.Path("n2"), "get", nodes, authorizer.DecisionNoOpinion},
		{"system:node:n1", nodepolicy.Path("n1") + "/x", "get", nodes, authorizer.DecisionNoOpinion},
		{"system:node:", nodepolicy.Path(""), "get", nodes, authorizer.DecisionNoOpinion},
		{"system:node:n1", nodepolicy.Path("n1"), "get", nil, authorizer.DecisionNoOpinion},
	} {
		got, _, err := node.Authorize(t.Context(), authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: tc.name, Groups: tc.groups}, Verb: tc.verb, Path: tc.path,
		})
		if err != nil || got != tc.want {
			t.Errorf("%s of %v: %s %s is %v, %v; want %v", tc.name, tc.groups, tc.verb, tc.path, got, err, tc.want)
		}
	}
}
