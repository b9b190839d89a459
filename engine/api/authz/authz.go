// Package authz decides who may do what. [New] joins a list of authorizers, of
// which the first with an opinion decides: the group system:masters may do
// everything, a node what [Node] grants, everyone what roles and their bindings
// grant ([RBAC]). What no authorizer allows is forbidden.
//
// Authorizers read the store and what follows it, [Graph] and rbac.Index; they
// are safe for concurrent use.
package authz

import (
	"context"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/union"

	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
)

// New returns the server's authorizer. graph and roles have observed what reader
// reads.
func New(reader object.Reader, graph *Graph, roles *rbac.Index) (authorizer.Authorizer, error) {
	all, err := union.New(
		union.NamedAuthorizer{AuthorizerName: "masters", Authorizer: authorizer.AuthorizerFunc(masters)},
		union.NamedAuthorizer{AuthorizerName: "node", Authorizer: authorizer.AuthorizerFunc(Node{reader, graph}.Authorize)},
		union.NamedAuthorizer{AuthorizerName: "rbac", Authorizer: authorizer.AuthorizerFunc(RBAC{roles}.Authorize)},
	)
	if err != nil {
		return nil, err
	}
	return resolver{all, roles}, nil
}

func masters(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if memberOf(a.GetUser(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// RBAC grants what roles and their bindings grant.
type RBAC struct{ Index *rbac.Index }

// Authorize implements authorizer.AuthorizerFunc.
func (r RBAC) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	allowed, reason := r.Index.Authorize(User(a.GetUser()), request(a))
	if allowed {
		return authorizer.DecisionAllow, reason, nil
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// User is a user as package rbac knows them.
func User(u user.Info) rbac.User {
	if u == nil {
		return rbac.User{}
	}
	return rbac.User{Name: u.GetName(), Groups: u.GetGroups()}
}

func request(a authorizer.Attributes) rbac.Request {
	if !a.IsResourceRequest() {
		return rbac.Request{Verb: a.GetVerb(), Path: a.GetPath()}
	}
	return rbac.Request{
		Verb: a.GetVerb(), Group: a.GetAPIGroup(), Resource: a.GetResource(), Subresource: a.GetSubresource(),
		Namespace: a.GetNamespace(), Name: a.GetName(),
	}
}

func memberOf(u user.Info, group string) bool {
	return u != nil && slices.Contains(u.GetGroups(), group)
}
