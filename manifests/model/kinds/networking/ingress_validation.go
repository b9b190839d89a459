package networking

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/rule"
)

// tolerated is what an Ingress that is there already may keep: older versions of the
// API let it through.
type tolerated struct {
	secretNames, wildcardRules bool
}

func toleratedOf(old *networkingv1.Ingress) tolerated {
	var t tolerated
	for _, tls := range old.Spec.TLS {
		t.secretNames = t.secretNames || len(secretName(tls.SecretName)) > 0
	}
	for _, r := range old.Spec.Rules {
		t.wildcardRules = t.wildcardRules || strings.Contains(r.Host, "*") && len(validateHTTP(r.HTTP, nil)) > 0
	}
	return t
}

func secretName(name string) []string {
	if name == "" {
		return nil
	}
	return apivalidation.NameIsDNSSubdomain(name, false)
}

func validateIngress(i *networkingv1.Ingress, may tolerated) field.ErrorList {
	var errs field.ErrorList
	s := &i.Spec
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(rule.Spec, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, validateBackend(s.DefaultBackend, rule.Spec.Child("defaultBackend"))...)
	}
	for n, r := range s.Rules {
		at := rule.Spec.Child("rules").Index(n)
		wildcard := strings.Contains(r.Host, "*")
		if r.Host != "" && netutils.ParseIPSloppy(r.Host) != nil {
			errs = append(errs, field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
		}
		if r.Host != "" {
			errs = append(errs, validateHost(r.Host, at.Child("host"))...)
		}
		if !wildcard || !may.wildcardRules {
			errs = append(errs, validateHTTP(r.HTTP, at.Child("http"))...)
		}
	}
	for n, tls := range s.TLS {
		at := rule.Spec.Child("tls").Index(n)
		for h, host := range tls.Hosts {
			errs = append(errs, validateHost(host, at.Child("hosts").Index(h))...)
		}
		if !may.secretNames {
			errs = append(errs, rule.Invalid(at.Child("secretName"), tls.SecretName, secretName(tls.SecretName))...)
		}
	}
	if name := s.IngressClassName; name != nil {
		errs = append(errs, rule.Invalid(rule.Spec.Child("ingressClassName"), *name, apivalidation.NameIsDNSSubdomain(*name, false))...)
	}
	return errs
}

// validateClassTwice has the annotation and the field of a new Ingress name one class.
func validateClassTwice(i *networkingv1.Ingress) field.ErrorList {
	name, ok := i.Annotations[ClassAnnotation]
	if !ok || i.Spec.IngressClassName == nil || name == *i.Spec.IngressClassName {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("annotations").Child(ClassAnnotation), name, "must match `ingressClassName` when both are specified")}
}

func validateHost(host string, path *field.Path) field.ErrorList {
	if strings.Contains(host, "*") {
		return rule.Invalid(path, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return rule.DNSSubdomain(host, path)
}

func validateHTTP(http *networkingv1.HTTPIngressRuleValue, path *field.Path) field.ErrorList {
	if http == nil {
		return nil
	}
	var errs field.ErrorList
	if len(http.Paths) == 0 {
		errs = append(errs, field.Required(path.Child("paths"), ""))
	}
	for i := range http.Paths {
		errs = append(errs, validatePath(&http.Paths[i], path.Child("paths").Index(i))...)
	}
	return errs
}

// What the paths of requests that are compared by their elements never have.
var (
	noSequences = []string{"//", "/./", "/../", "%2f", "%2F"}
	noSuffixes  = []string{"/..", "/."}
)

func validatePath(p *networkingv1.HTTPIngressPath, path *field.Path) field.ErrorList {
	if p.PathType == nil {
		return field.ErrorList{field.Required(path.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	at := path.Child("path")
	absolute := func() {
		if !strings.HasPrefix(p.Path, "/") {
			errs = append(errs, field.Invalid(at, p.Path, "must be an absolute path"))
		}
	}
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		absolute()
		for _, s := range noSequences {
			if strings.Contains(p.Path, s) {
				errs = append(errs, field.Invalid(at, p.Path, fmt.Sprintf("must not contain '%s'", s)))
			}
		}
		for _, s := range noSuffixes {
			if strings.HasSuffix(p.Path, s) {
				errs = append(errs, field.Invalid(at, p.Path, fmt.Sprintf("cannot end with '%s'", s)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" {
			absolute()
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("pathType"), *p.PathType, []networkingv1.PathType{
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix,
		}))
	}
	return append(errs, validateBackend(&p.Backend, path.Child("backend"))...)
}

func validateBackend(b *networkingv1.IngressBackend, path *field.Path) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(path, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		return validateReference(b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, path.Child("resource"))
	case b.Service == nil:
		return field.ErrorList{field.Invalid(path, "", "resource or service backend is required")}
	}
	var errs field.ErrorList
	service := path.Child("service")
	if b.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	} else {
		errs = append(errs, rule.Invalid(service.Child("name"), b.Service.Name, apivalidation.NameIsDNSLabel(b.Service.Name, false))...)
	}
	switch port := b.Service.Port; {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(path, "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, rule.Invalid(service.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, rule.PortNumber(port.Number, service.Child("port", "number"))...)
	default:
		errs = append(errs, field.Required(path, "port name or number is required"))
	}
	return errs
}

// validateIngressStatus is about the addresses at which an Ingress is served.
func validateIngressStatus(i, old *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	var had []string
	for _, in := range old.Status.LoadBalancer.Ingress {
		had = append(had, in.IP)
	}
	for n, in := range i.Status.LoadBalancer.Ingress {
		at := rule.Status.Child("loadBalancer", "ingress").Index(n)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, true, had)...)
		}
		if in.Hostname != "" {
			errs = append(errs, rule.DNSSubdomain(in.Hostname, at.Child("hostname"))...)
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}
