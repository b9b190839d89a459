package networking

import (
	"fmt"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// ClassAnnotation named the class of an Ingress before spec.ingressClassName did. It
// comes before that field, as in Kubernetes.
const ClassAnnotation = networkingv1beta1.AnnotationIngressClass

// ingress hands requests for hosts and paths on to Services. nodes/ingress serves those
// of the controller HeadwayController; engine/controllers/ingress says in the status
// at which addresses.
// https://kubernetes.io/docs/concepts/services-networking/ingress/
var ingress = kind.Define[networkingv1.Ingress, networkingv1.IngressList](kind.Definition[*networkingv1.Ingress]{
	Names: kind.Names{
		GroupVersionKind: networkingv1.SchemeGroupVersion.WithKind("Ingress"),
		Plural:           "ingresses", Singular: "ingress", ShortNames: []string{"ing"},
		Namespaced: true,
	},
	Status: true,
	Order:  kind.Anywhere,
	Lifecycle: kind.Lifecycle[*networkingv1.Ingress]{
		Create:       func(i *networkingv1.Ingress) { i.Status = networkingv1.IngressStatus{} },
		Update:       func(i, old *networkingv1.Ingress) { i.Status = old.Status },
		UpdateStatus: func(i, old *networkingv1.Ingress) { i.Spec = old.Spec },
		Changed:      func(i, old *networkingv1.Ingress) bool { return kind.Differ(i.Spec, old.Spec) },
	},
	Honours: honour.Types{
		honour.Of[networkingv1.Ingress]():     {Honoured: "TypeMeta metadata spec status"},
		honour.Of[networkingv1.IngressSpec](): {Honoured: "ingressClassName defaultBackend tls rules"},
		honour.Of[networkingv1.IngressBackend](): {
			Honoured: "service",
			Rules: map[string]*honour.Rule{"resource": {
				Level:  honour.Hint,
				Reason: "only another controller than " + HeadwayController + " can serve it, which answers such requests with 503: name a Service",
			}},
		},
		honour.Of[networkingv1.IngressServiceBackend](): {Honoured: "name port"},
		honour.Of[networkingv1.ServiceBackendPort]():    {Honoured: "name number"},
		honour.Of[networkingv1.IngressTLS]():            {Honoured: "hosts secretName"},
		honour.Of[networkingv1.IngressRule]():           {Honoured: "host IngressRuleValue"},
		honour.Of[networkingv1.IngressRuleValue]():      {Honoured: "http"},
		honour.Of[networkingv1.HTTPIngressRuleValue]():  {Honoured: "paths"},
		honour.Of[networkingv1.HTTPIngressPath]():       {Honoured: "path pathType backend"},
	},
	Warnings: func(i, old *networkingv1.Ingress) []string {
		if _, named := i.Annotations[ClassAnnotation]; old == nil && named && i.Spec.IngressClassName == nil {
			return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", ClassAnnotation)}
		}
		return nil
	},
	Rules: kind.Rules[*networkingv1.Ingress]{
		Name:     apivalidation.NameIsDNSSubdomain,
		Object:   func(i *networkingv1.Ingress) field.ErrorList { return validateIngress(i, tolerated{}) },
		Create:   validateClassTwice,
		Replaces: func(i, old *networkingv1.Ingress) field.ErrorList { return validateIngress(i, toleratedOf(old)) },
		Status:   validateIngressStatus,
	},
	Table: kind.Table[*networkingv1.Ingress]{
		Columns: column.Define("Name", "Class", "Hosts", "Address", "Ports", "Age"),
		Row: func(i *networkingv1.Ingress, now time.Time) []any {
			class, ports := column.None, "80"
			if name := i.Spec.IngressClassName; name != nil {
				class = *name
			}
			if len(i.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{i.Name, class, hosts(i.Spec.Rules), addresses(i), ports, column.Age(i, now)}
		},
	},
	// kstatus judges an Ingress by nothing: it is what it asks for as soon as it exists,
	// also where nothing serves its class.
	Health: kind.Health[*networkingv1.Ingress]{Of: func(*networkingv1.Ingress, object.Reader) health.Result {
		return health.Result{Status: health.Current, Message: "Resource is current"}
	}},
})

// ClassOf is the name of an Ingress's class; empty if it has none.
func ClassOf(i *networkingv1.Ingress) string {
	if name, ok := i.Annotations[ClassAnnotation]; ok {
		return name
	}
	if name := i.Spec.IngressClassName; name != nil {
		return *name
	}
	return ""
}

// shownHosts is how many hosts a row has.
const shownHosts = 3

func hosts(rules []networkingv1.IngressRule) string {
	var list []string
	for _, r := range rules {
		if len(list) == shownHosts {
			return fmt.Sprintf("%s + %d more...", strings.Join(list, ","), len(rules)-shownHosts)
		}
		if r.Host != "" {
			list = append(list, r.Host)
		}
	}
	return column.Or(strings.Join(list, ","), "*")
}

func addresses(i *networkingv1.Ingress) string {
	list := sets.New[string]()
	for _, in := range i.Status.LoadBalancer.Ingress {
		if a := column.Or(in.IP, in.Hostname); a != "" {
			list.Insert(a)
		}
	}
	return strings.Join(sets.List(list), ",")
}
