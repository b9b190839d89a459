package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/rule"
)

// everything is how rules say "all".
const everything = "*"

var (
	specPath     = field.NewPath("spec")
	webhooksPath = field.NewPath("webhooks")

	operations = []admissionregistrationv1.OperationType{
		admissionregistrationv1.OperationAll, admissionregistrationv1.Connect, admissionregistrationv1.Create,
		admissionregistrationv1.Delete, admissionregistrationv1.Update,
	}
	// mutable are the operations that have an object which can be changed.
	mutable = []admissionregistrationv1.OperationType{
		admissionregistrationv1.OperationAll, admissionregistrationv1.Connect, admissionregistrationv1.Create, admissionregistrationv1.Update,
	}
)

func defaultRule(r *admissionregistrationv1.Rule) {
	fill.Unset(&r.Scope, admissionregistrationv1.AllScopes)
}

func defaultMatchResources(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	fill.Unset(&m.MatchPolicy, admissionregistrationv1.Equivalent)
	fill.Unset(&m.NamespaceSelector, metav1.LabelSelector{})
	fill.Unset(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			defaultRule(&rules[i].Rule)
		}
	}
}

// supported requires a value that is set to be one of several.
func supported[T ~string](value *T, path *field.Path, allowed ...T) field.ErrorList {
	if value == nil || slices.Contains(allowed, *value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, *value, allowed)}
}

// needed requires a value, one of several.
func needed[T ~string](value *T, path *field.Path, allowed ...T) field.ErrorList {
	if value == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	return supported(value, path, allowed...)
}

func validateSelector(s *metav1.LabelSelector, options metavalidation.LabelSelectorValidationOptions, path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	return metavalidation.ValidateLabelSelector(s, options, path)
}

func validateRules(rules []admissionregistrationv1.RuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		errs = append(errs, validateRule(&rules[i], path.Index(i))...)
	}
	return errs
}

func validateRule(r *admissionregistrationv1.RuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := path.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	errs = append(errs, alone(r.Operations, at, "operations")...)
	for i, op := range r.Operations {
		errs = append(errs, supported(&op, at.Index(i), operations...)...)
	}
	if at := path.Child("apiGroups"); len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, alone(r.APIGroups, at, "API groups")...)
	}
	at = path.Child("apiVersions")
	if len(r.APIVersions) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	errs = append(errs, alone(r.APIVersions, at, "API versions")...)
	for i, version := range r.APIVersions {
		if version == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
		}
	}
	errs = append(errs, validateResources(r.Resources, path.Child("resources"))...)
	return append(errs, supported(r.Scope, path.Child("scope"),
		admissionregistrationv1.AllScopes, admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope)...)
}

// alone requires that "*" is alone in a list.
func alone[T ~string](list []T, path *field.Path, what string) field.ErrorList {
	if len(list) > 1 && slices.Contains(list, everything) {
		return field.ErrorList{field.Invalid(path, list, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

func validateResources(resources []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(resources) == 0 {
		errs = append(errs, field.Required(path, ""))
	}
	allOf, ofAll := map[string]bool{}, map[string]bool{} // "pods/*", "*/status"
	plain := false                                       // the last without a subresource is not "*", as Kubernetes looks at it
	for i, r := range resources {
		at := path.Index(i)
		resource, sub, isSub := strings.Cut(r, "/")
		switch {
		case r == "":
			errs = append(errs, field.Required(at, ""))
			continue
		case !isSub:
			plain = r != everything
			continue
		}
		if allOf[resource] {
			errs = append(errs, field.Invalid(at, r, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, r)))
		}
		if ofAll[sub] {
			errs = append(errs, field.Invalid(at, r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
		}
		if sub == everything {
			allOf[resource] = true
		}
		if resource == everything {
			ofAll[sub] = true
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		errs = append(errs, field.Invalid(path, resources, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(resources, everything) {
		errs = append(errs, field.Invalid(path, resources, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

func validateMatchResources(m *admissionregistrationv1.MatchResources, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	errs := needed(m.MatchPolicy, path.Child("matchPolicy"), admissionregistrationv1.Equivalent, admissionregistrationv1.Exact)
	for _, s := range []struct {
		name     string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", m.NamespaceSelector}, {"objectSelector", m.ObjectSelector}} {
		if s.selector == nil {
			errs = append(errs, field.Required(path.Child(s.name), ""))
		}
		errs = append(errs, validateSelector(s.selector, metavalidation.LabelSelectorValidationOptions{}, path.Child(s.name))...)
	}
	errs = append(errs, validateNamedRules(m.ResourceRules, path.Child("resourceRules"))...)
	return append(errs, validateNamedRules(m.ExcludeResourceRules, path.Child("excludeResourceRules"))...)
}

func validateNamedRules(rules []admissionregistrationv1.NamedRuleWithOperations, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range rules {
		at, names := path.Index(i), map[string]bool{}
		for n, name := range rules[i].ResourceNames {
			here := at.Child("resourceNames").Index(n)
			errs = append(errs, rule.Invalid(here, name, content.IsPathSegmentName(name))...)
			errs = append(errs, rule.Unique(names, name, here)...)
		}
		errs = append(errs, validateRule(&rules[i].RuleWithOperations, at)...)
	}
	return errs
}

// validateConstraints is about the resources that a policy is for, of which there
// has to be one at least: its expressions have their types from there.
func validateConstraints(m *admissionregistrationv1.MatchResources, path *field.Path) field.ErrorList {
	if m == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := validateMatchResources(m, path)
	if len(m.ResourceRules) == 0 {
		errs = append(errs, field.Required(path.Child("resourceRules"), ""))
	}
	return errs
}

// validateMutable requires that the rules of a policy that changes objects are
// about operations that have one.
func validateMutable(m *admissionregistrationv1.MatchResources, path *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	for _, r := range m.ResourceRules {
		for _, op := range r.Operations {
			errs = append(errs, supported(&op, path.Child("resourceRules", "operations"), mutable...)...)
		}
	}
	return errs
}

func validateParamRef(p *admissionregistrationv1.ParamRef, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	const exclusive = "name and selector are mutually exclusive"
	var errs field.ErrorList
	if p.Name != "" {
		errs = append(errs, rule.Invalid(path.Child("name"), p.Name, content.IsPathSegmentName(p.Name))...)
	}
	if p.Name != "" && p.Selector != nil {
		errs = append(errs, field.Forbidden(path.Child("name"), exclusive), field.Forbidden(path.Child("selector"), exclusive))
	}
	errs = append(errs, validateSelector(p.Selector, metavalidation.LabelSelectorValidationOptions{}, path.Child("selector"))...)
	if p.Name == "" && p.Selector == nil {
		errs = append(errs, field.Required(path, "one of name or selector must be specified"))
	}
	at := path.Child("parameterNotFoundAction")
	if p.ParameterNotFoundAction != nil && *p.ParameterNotFoundAction == "" {
		return append(errs, field.Required(at, ""))
	}
	return append(errs, needed(p.ParameterNotFoundAction, at, admissionregistrationv1.AllowAction, admissionregistrationv1.DenyAction)...)
}

// paramCell is how kubectl shows the parameters of a binding.
func paramCell(p *admissionregistrationv1.ParamRef) string {
	switch {
	case p == nil:
	case p.Name != "" && p.Namespace != "":
		return p.Namespace + "/" + p.Name
	case p.Name != "":
		return "*/" + p.Name
	case p.Selector != nil:
		return p.Selector.String()
	}
	return unset
}

// kindCell is how kubectl shows the kind of a policy's parameters.
func kindCell(p *admissionregistrationv1.ParamKind) string {
	if p == nil {
		return unset
	}
	return p.APIVersion + "/" + p.Kind
}

const unset = "<unset>"
