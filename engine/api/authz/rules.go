package authz

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// resolver adds to an authorizer the answer to what a user may do.
type resolver struct {
	authorizer.Authorizer
	paths []PathRule
}

var _ authorizer.RuleResolver = resolver{}

// RulesFor implements authorizer.RuleResolver. A node's rules are incomplete:
// which objects they grant depends on its pods.
func (r resolver) RulesFor(_ context.Context, u user.Info, _ string) (resources []authorizer.ResourceRuleInfo, paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	all := []string{"*"}
	if memberOf(u, user.SystemPrivilegedGroup) {
		resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: all, APIGroups: all, Resources: all})
		paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: all, NonResourceURLs: all})
	}
	if _, node := NodeName(u); node {
		for _, rule := range nodeAccess {
			if rule.scope == nil {
				resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: rule.verbs, APIGroups: []string{rule.group}, Resources: []string{rule.resource}})
			}
		}
		incomplete = true
	}
	if memberOf(u, user.AllAuthenticated) {
		create := []string{"create"}
		resources = append(resources,
			&authorizer.DefaultResourceRuleInfo{Verbs: create, APIGroups: []string{"authorization.k8s.io"}, Resources: []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"}},
			&authorizer.DefaultResourceRuleInfo{Verbs: create, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"selfsubjectreviews"}})
	}
	for _, rule := range r.paths {
		if memberOf(u, rule.Group) {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.Paths})
		}
	}
	return resources, paths, incomplete, nil
}
