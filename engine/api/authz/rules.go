package authz

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"headway.dev/engine/rbac"
)

// resolver adds to an authorizer the answer to what a user may do.
type resolver struct {
	authorizer.Authorizer
	roles *rbac.Index
}

var _ authorizer.RuleResolver = resolver{}

// RulesFor implements authorizer.RuleResolver. A node's rules are incomplete:
// which objects they grant depends on its pods.
func (r resolver) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
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
	rules, err := r.roles.Rules(User(u), namespace)
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return resources, paths, incomplete, err
}
