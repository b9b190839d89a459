package networking

import (
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

const (
	// HeadwayClass is the class that every cluster gets, which is the default until
	// somebody changes that.
	HeadwayClass = "headway"
	// HeadwayController is the controller of that class: the proxy of the agents
	// (nodes/ingress).
	HeadwayController = "headway.dev/ingress"
	// NodeAnnotation of a node says "true" if it serves Ingresses of HeadwayController.
	NodeAnnotation = "headway.dev/ingress"
	// mostController is how long the name of a controller may be.
	mostController = 250
)

// ingressClass says which controller serves the Ingresses that name it; DefaultIngressClass
// (engine/admission/plugins) gives the default to those that name none.
// https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class
var ingressClass = kind.Define[networkingv1.IngressClass, networkingv1.IngressClassList](kind.Definition[*networkingv1.IngressClass]{
	Names: kind.Names{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("IngressClass"),
		Plural:           "ingressclasses", Singular: "ingressclass",
	},
	// kustomize does not know it: before the Ingresses that it may be the default of.
	Order: 177,
	Default: func(c *networkingv1.IngressClass) {
		if p := c.Spec.Parameters; p != nil {
			fill.Unset(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
		}
	},
	Lifecycle: kind.Lifecycle[*networkingv1.IngressClass]{
		Changed: func(c, old *networkingv1.IngressClass) bool { return kind.Differ(c.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[networkingv1.IngressClass](): {Honoured: "TypeMeta metadata spec"},
		honour.Of[networkingv1.IngressClassSpec](): {
			Honoured: "controller parameters",
			Rules: map[string]*honour.Rule{"parameters": {
				Level: honour.Refused, Values: "of controller " + HeadwayController,
				Reason: "there are none: its settings are annotations of Ingresses and flags of the agent",
				Asks: honour.When(func(s *networkingv1.IngressClassSpec) bool {
					return s.Controller == HeadwayController && s.Parameters != nil
				}),
			}},
		},
		honour.Of[networkingv1.IngressClassParametersReference](): {Honoured: "apiGroup kind name scope namespace"},
	},
	Rules: kind.Rules[*networkingv1.IngressClass]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateIngressClass,
		Update: func(c, old *networkingv1.IngressClass) field.ErrorList {
			return rule.Immutable(c.Spec.Controller, old.Spec.Controller, rule.Spec.Child("controller"))
		},
	},
	Table: kind.Table[*networkingv1.IngressClass]{
		Columns: column.Define("Name", "Controller", "Parameters", "Age"),
		Row: func(c *networkingv1.IngressClass, now time.Time) []any {
			return []any{c.Name, c.Spec.Controller, parameters(c.Spec.Parameters), column.Age(c, now)}
		},
	},
})

// Headway returns the class that every cluster gets.
func Headway() *networkingv1.IngressClass {
	return &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: HeadwayClass, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec:       networkingv1.IngressClassSpec{Controller: HeadwayController},
	}
}

// IsDefault reports whether a class is for Ingresses that name none.
func IsDefault(c *networkingv1.IngressClass) bool {
	return c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
}

func parameters(p *networkingv1.IngressClassParametersReference) string {
	if p == nil {
		return column.None
	}
	kind := p.Kind
	if p.APIGroup != nil {
		kind += "." + *p.APIGroup
	}
	return fmt.Sprintf("%s/%s", kind, p.Name)
}

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	var errs field.ErrorList
	if path := rule.Spec.Child("controller"); c.Spec.Controller == "" {
		errs = append(errs, field.Required(path, ""))
	} else {
		if len(c.Spec.Controller) > mostController {
			errs = append(errs, field.TooLong(path, "", mostController))
		}
		errs = append(errs, validation.IsDomainPrefixedPath(path, c.Spec.Controller)...)
	}
	p := c.Spec.Parameters
	if p == nil {
		return errs
	}
	path := rule.Spec.Child("parameters")
	errs = append(errs, validateReference(p.APIGroup, p.Kind, p.Name, path)...)
	if p.Scope == nil {
		return append(errs, field.Required(path.Child("scope"), ""))
	}
	errs = append(errs, rule.NotSupported(*p.Scope, path.Child("scope"), networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	switch namespace := path.Child("namespace"); *p.Scope {
	case networkingv1.IngressClassParametersReferenceScopeNamespace:
		if p.Namespace == nil {
			errs = append(errs, field.Required(namespace, "`parameters.scope` is set to 'Namespace'"))
		} else {
			errs = append(errs, rule.Invalid(namespace, *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))...)
		}
	case networkingv1.IngressClassParametersReferenceScopeCluster:
		if p.Namespace != nil {
			errs = append(errs, field.Forbidden(namespace, "`parameters.scope` is set to 'Cluster'"))
		}
	}
	return errs
}

// validateReference is about a reference to an object of some kind.
func validateReference(group *string, kind, name string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if group != nil {
		errs = append(errs, rule.DNSSubdomain(*group, path.Child("apiGroup"))...)
	}
	for _, f := range []struct{ name, value string }{{"kind", kind}, {"name", name}} {
		if f.value == "" {
			errs = append(errs, field.Required(path.Child(f.name), ""))
		} else {
			errs = append(errs, rule.Invalid(path.Child(f.name), f.value, rule.PathSegmentName(f.value, false))...)
		}
	}
	return errs
}
