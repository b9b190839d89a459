package flowcontrol

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

// validateRule checks which requests of whom a schema is about.
func validateRule(r *flowcontrolv1.PolicyRulesWithSubjects, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(path.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, validateSubject(&r.Subjects[i], path.Child("subjects").Index(i))...)
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range r.ResourceRules {
		errs = append(errs, validateResourceRule(&r.ResourceRules[i], path.Child("resourceRules").Index(i))...)
	}
	for i := range r.NonResourceRules {
		errs = append(errs, validateNonResourceRule(&r.NonResourceRules[i], path.Child("nonResourceRules").Index(i))...)
	}
	return errs
}

func validateSubject(s *flowcontrolv1.Subject, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	parts := []struct {
		kind      flowcontrolv1.SubjectKind
		name      string
		set       bool
		forbidden string
		validate  func(*field.Path) field.ErrorList
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil, "serviceAccount is forbidden when subject kind is not 'ServiceAccount'", func(p *field.Path) field.ErrorList {
			return validateAccount(s.ServiceAccount, p)
		}},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil, "user is forbidden when subject kind is not 'User'", func(p *field.Path) field.ErrorList {
			return named(s.User.Name, p)
		}},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil, "group is forbidden when subject kind is not 'Group'", func(p *field.Path) field.ErrorList {
			return named(s.Group.Name, p)
		}},
	}
	known := false
	for _, part := range parts {
		known = known || part.kind == s.Kind
	}
	if !known {
		return field.ErrorList{field.NotSupported(path.Child("kind"), s.Kind, []flowcontrolv1.SubjectKind{
			flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser,
		})}
	}
	for _, part := range parts {
		at := path.Child(part.name)
		switch {
		case part.kind == s.Kind && part.set:
			errs = append(errs, part.validate(at)...)
		case part.kind == s.Kind:
			errs = append(errs, field.Required(at, part.name+" is required when subject kind is '"+string(s.Kind)+"'"))
		case part.set:
			errs = append(errs, field.Forbidden(at, part.forbidden))
		}
	}
	return errs
}

func named(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path.Child("name"), "")}
	}
	return nil
}

func validateAccount(s *flowcontrolv1.ServiceAccountSubject, path *field.Path) field.ErrorList {
	errs := named(s.Name, path)
	if s.Name != "" && s.Name != flowcontrolv1.NameAll {
		errs = append(errs, rule.Invalid(path.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))...)
	}
	if s.Namespace == "" {
		return append(errs, field.Required(path.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, rule.Invalid(path.Child("namespace"), s.Namespace, apivalidation.ValidateNamespaceName(s.Namespace, false))...)
}

func validateVerbs(list []string, path *field.Path) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(path, "verbs must contain at least one value")}
	case slices.Contains(list, flowcontrolv1.VerbAll):
		return alone(list, path, "verbs")
	case slices.ContainsFunc(list, func(v string) bool { return !slices.Contains(verbs, v) }):
		return field.ErrorList{field.NotSupported(path, list, verbs)}
	}
	return nil
}

// alone refuses other entries besides the one that stands for all of them.
func alone(list []string, path *field.Path, what string) field.ErrorList {
	if len(list) > 1 && slices.Contains(list, "*") {
		return field.ErrorList{field.Invalid(path, list, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

func validateResourceRule(r *flowcontrolv1.ResourcePolicyRule, path *field.Path) field.ErrorList {
	errs := validateVerbs(r.Verbs, path.Child("verbs"))
	if groups := path.Child("apiGroups"); len(r.APIGroups) == 0 {
		errs = append(errs, field.Required(groups, "resource rules must supply at least one api group"))
	} else {
		errs = append(errs, alone(r.APIGroups, groups, "api groups")...)
	}
	if resources := path.Child("resources"); len(r.Resources) == 0 {
		errs = append(errs, field.Required(resources, "resource rules must supply at least one resource"))
	} else {
		errs = append(errs, alone(r.Resources, resources, "resources")...)
	}
	namespaces := path.Child("namespaces")
	switch {
	case len(r.Namespaces) == 0 && !r.ClusterScope:
		errs = append(errs, field.Required(namespaces, "resource rules that are not cluster scoped must supply at least one namespace"))
	case slices.Contains(r.Namespaces, flowcontrolv1.NamespaceEvery):
		errs = append(errs, alone(r.Namespaces, namespaces, "namespaces")...)
	default:
		for i, name := range r.Namespaces {
			for _, message := range apivalidation.ValidateNamespaceName(name, false) {
				errs = append(errs, field.Invalid(namespaces.Index(i), name, "each member of this list must be '*' or a DNS-1123 label; "+message))
			}
		}
	}
	return errs
}

func validateNonResourceRule(r *flowcontrolv1.NonResourcePolicyRule, path *field.Path) field.ErrorList {
	errs := validateVerbs(r.Verbs, path.Child("verbs"))
	urls := path.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		errs = append(errs, field.Required(urls, "nonResourceURLs must contain at least one value"))
	case slices.Contains(r.NonResourceURLs, flowcontrolv1.NonResourceAll):
		errs = append(errs, alone(r.NonResourceURLs, urls, "non-resource URLs")...)
	default:
		for i, url := range r.NonResourceURLs {
			if message := wrongURL(url); message != "" {
				errs = append(errs, field.Invalid(urls.Index(i), url, message))
			}
		}
	}
	return errs
}

// wrongURL says what is wrong with a path, of which only the end may be open.
func wrongURL(path string) string {
	stars := strings.Count(path, "*")
	switch {
	case path == "":
		return "must not be empty"
	case path == "/":
		return ""
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(path, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
