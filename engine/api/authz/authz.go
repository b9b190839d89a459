// Package authz decides who may do what. [New] joins a list of authorizers, of
// which the first with an opinion decides: the group system:masters may do
// everything, a node what [Node] grants, every user what discovery and the
// reviews about oneself need, anyone the health endpoints. What no authorizer
// allows is forbidden. Further authorizers (RBAC) join the same list.
//
// Authorizers read the store and keep nothing; they are safe for concurrent
// use.
package authz

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/union"

	"headway.dev/manifests/object"
)

// PathRule lets the members of a group use paths that are no API resources.
type PathRule struct {
	Group string
	// Verbs are lower-case HTTP methods; "*" is any.
	Verbs []string
	// Paths match whole, or as a prefix if they end with *.
	Paths []string
}

// discovery is what Kubernetes' default roles (system:discovery,
// system:public-info-viewer) let everyone read.
var discovery = []PathRule{
	{user.AllAuthenticated, []string{"get"}, []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"}},
	{user.AllAuthenticated, []string{"get"}, []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}},
	{user.AllUnauthenticated, []string{"get"}, []string{"/healthz", "/livez", "/readyz", "/version", "/version/"}},
}

// New makes the server's authorizer. rules are the server's own, beyond those
// of discovery.
func New(reader object.Reader, rules []PathRule) (authorizer.Authorizer, error) {
	rules = slices.Concat(discovery, rules)
	all, err := union.New(
		union.NamedAuthorizer{AuthorizerName: "masters", Authorizer: authorizer.AuthorizerFunc(masters)},
		union.NamedAuthorizer{AuthorizerName: "node", Authorizer: authorizer.AuthorizerFunc(Node{Reader: reader}.Authorize)},
		union.NamedAuthorizer{AuthorizerName: "reviews", Authorizer: authorizer.AuthorizerFunc(reviews)},
		union.NamedAuthorizer{AuthorizerName: "paths", Authorizer: paths(rules)},
	)
	if err != nil {
		return nil, err
	}
	return resolver{all, rules}, nil
}

func masters(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if memberOf(a.GetUser(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// reviews lets every user ask who they are and what they may do, as the role
// system:basic-user has it.
func reviews(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.IsResourceRequest() && a.GetVerb() == "create" && a.GetSubresource() == "" && memberOf(a.GetUser(), user.AllAuthenticated) {
		switch a.GetAPIGroup() + "/" + a.GetResource() {
		case "authorization.k8s.io/selfsubjectaccessreviews", "authorization.k8s.io/selfsubjectrulesreviews", "authentication.k8s.io/selfsubjectreviews":
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func paths(rules []PathRule) authorizer.AuthorizerFunc {
	return func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.IsResourceRequest() {
			return authorizer.DecisionNoOpinion, "", nil
		}
		for _, r := range rules {
			if r.allows(a) {
				return authorizer.DecisionAllow, "", nil
			}
		}
		return authorizer.DecisionNoOpinion, "", nil
	}
}

func (r PathRule) allows(a authorizer.Attributes) bool {
	if !memberOf(a.GetUser(), r.Group) || !slices.Contains(r.Verbs, "*") && !slices.Contains(r.Verbs, a.GetVerb()) {
		return false
	}
	return slices.ContainsFunc(r.Paths, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(a.GetPath(), prefix)
		}
		return a.GetPath() == p
	})
}

func memberOf(u user.Info, group string) bool {
	return u != nil && slices.Contains(u.GetGroups(), group)
}
