package authz

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var everything = []string{"*"}

// privileged are the rules of who may do everything.
type privileged struct{}

// RulesFor implements authorizer.RuleResolver.
func (privileged) RulesFor(_ context.Context, u user.Info, _ string) (resources []authorizer.ResourceRuleInfo, paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	if memberOf(u, user.SystemPrivilegedGroup) {
		resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: everything, APIGroups: everything, Resources: everything})
		paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: everything, NonResourceURLs: everything})
	}
	return resources, paths, false, nil
}

// RulesFor implements authorizer.RuleResolver. A node's rules are incomplete:
// which objects they grant depends on its pods.
func (Node) RulesFor(_ context.Context, u user.Info, _ string) (resources []authorizer.ResourceRuleInfo, paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	if _, node := NodeName(u); !node {
		return nil, nil, false, nil
	}
	for _, rule := range nodeAccess {
		if rule.scope == nil {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: rule.verbs, APIGroups: []string{rule.group}, Resources: []string{rule.resource}})
		}
	}
	return resources, nil, true, nil
}

// RulesFor implements authorizer.RuleResolver.
func (r RBAC) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, paths []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	rules, err := r.Index.Rules(User(u), namespace)
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
	return resources, paths, false, err
}

// unknown are the rules of a webhook, which knows them alone.
type unknown struct{}

// RulesFor implements authorizer.RuleResolver.
func (unknown) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return nil, nil, true, nil
}
