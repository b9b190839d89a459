package admit

import (
	"cmp"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	securityapi "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var kustomizationKind = schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: kustomizev1.KustomizationKind}

// Security is Kubernetes' PodSecurity admission: the labels
// pod-security.kubernetes.io/… of a namespace determine what its pods may do.
//
// A namespace without an enforced level, to which a Kustomization that acts as
// an account writes, has baseline: roles do not distinguish a harmless pod from
// one that controls the machine.
type Security struct {
	defaults securityapi.Policy
	// defaultAccount says that Kustomizations without a serviceAccountName act
	// as one, too.
	defaultAccount bool
	evaluator      interface {
		EvaluatePod(securityapi.LevelVersion, *metav1.ObjectMeta, *corev1.PodSpec) []policy.CheckResult
	}
}

// NewSecurity returns the admission. enforce is the level of namespaces without
// labels: privileged, baseline or restricted; empty is privileged.
// defaultAccount is the account that Kustomizations without a
// serviceAccountName act as, except for the command line's own; empty is the
// cluster itself.
func NewSecurity(enforce, defaultAccount string) (*Security, error) {
	level, err := securityapi.ParseLevel(cmp.Or(enforce, string(securityapi.LevelPrivileged)))
	if err != nil {
		return nil, fmt.Errorf("pod security level %q: %w", enforce, err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("pod security: %w", err)
	}
	privileged := securityapi.LevelVersion{Level: securityapi.LevelPrivileged, Version: securityapi.LatestVersion()}
	enforced := securityapi.LevelVersion{Level: level, Version: securityapi.LatestVersion()}
	return &Security{defaults: securityapi.Policy{Enforce: enforced, Audit: privileged, Warn: enforced}, defaultAccount: defaultAccount != "", evaluator: evaluator}, nil
}

// admit is the check at the point of commit, for whoever creates a pod.
func (s *Security) admit(view object.Reader, next, old object.Object) (object.Object, error) {
	switch obj := next.(type) {
	case *corev1.Namespace:
		before, _ := old.(*corev1.Namespace)
		return next, s.labels(obj, before)
	case *corev1.Pod:
		// What may be changed of a pod changes no verdict, but for these.
		if before, ok := old.(*corev1.Pod); ok && len(before.Spec.EphemeralContainers) == len(obj.Spec.EphemeralContainers) {
			return next, nil
		}
		p := s.policy(view, obj.Namespace)
		if detail := s.violations(p.Enforce, &obj.ObjectMeta, &obj.Spec); detail != "" {
			return nil, apierrors.NewForbidden(pods, cmp.Or(obj.Name, obj.GenerateName), fmt.Errorf("violates PodSecurity %q: %s", p.Enforce.String(), detail))
		}
	}
	return next, nil
}

// labels refuses levels and versions that there are not, where they are new.
func (s *Security) labels(ns, before *corev1.Namespace) error {
	_, errs := securityapi.PolicyToEvaluate(ns.Labels, s.defaults)
	if len(errs) == 0 {
		return nil
	}
	if before != nil {
		if _, known := securityapi.PolicyToEvaluate(before.Labels, s.defaults); len(known) > 0 {
			return nil
		}
	}
	return apierrors.NewInvalid(namespaceKind, ns.Name, errs)
}

// policy is that of a namespace.
func (s *Security) policy(view object.Reader, namespace string) securityapi.Policy {
	ns, _ := view.Get(object.Key{GroupKind: namespaceKind, Name: namespace}).(*corev1.Namespace)
	if ns == nil {
		return s.defaults
	}
	p, _ := securityapi.PolicyToEvaluate(ns.Labels, s.defaults) // of wrong labels it makes restricted
	if _, said := ns.Labels[securityapi.EnforceLevelLabel]; !said && p.Enforce.Level == securityapi.LevelPrivileged && s.tenant(view, namespace) {
		p.Enforce.Level = securityapi.LevelBaseline
		if securityapi.CompareLevels(p.Warn.Level, p.Enforce.Level) < 0 {
			p.Warn = p.Enforce
		}
	}
	return p
}

// tenant reports whether a Kustomization that acts as an account writes to a
// namespace.
func (s *Security) tenant(view object.Reader, namespace string) bool {
	all, _ := view.List(kustomizationKind, "")
	for _, obj := range all {
		ks, ok := obj.(*kustomizev1.Kustomization)
		if ok && s.actsAsAccount(ks) && (ks.Namespace == namespace || ks.Spec.TargetNamespace == namespace) {
			return true
		}
	}
	return false
}

// actsAsAccount reports whether a Kustomization has an account's rights alone.
// The one of the command line has all, unless it names an account.
func (s *Security) actsAsAccount(ks *kustomizev1.Kustomization) bool {
	return ks.Spec.ServiceAccountName != "" || s.defaultAccount && ks.Namespace+"/"+ks.Name != "headway-system/cluster"
}

// violations tells what a pod violates of a level, in Kubernetes' words; empty
// if nothing.
func (s *Security) violations(level securityapi.LevelVersion, meta *metav1.ObjectMeta, spec *corev1.PodSpec) string {
	if level.Level == securityapi.LevelPrivileged {
		return ""
	}
	result := policy.AggregateCheckResults(s.evaluator.EvaluatePod(level, meta, spec))
	if result.Allowed {
		return ""
	}
	return result.ForbiddenDetail()
}

// Warning returns the warning of the namespace's policy about a pod, or about
// an object that creates pods; empty if there is none. An object that creates
// pods is stored all the same, but its pods are refused.
func (s *Security) Warning(view object.Reader, obj object.Object) string {
	meta, spec := podTemplate(obj)
	if spec == nil {
		return ""
	}
	p := s.policy(view, obj.GetNamespace())
	if detail := s.violations(p.Warn, meta, spec); detail != "" {
		return fmt.Sprintf("would violate PodSecurity %q: %s", p.Warn.String(), detail)
	}
	return ""
}

// Foresee returns what would happen if obj were stored, in a state of the
// cluster that contains its namespace: a warning about it, or why it would be
// refused. An object that creates pods is stored whatever its pods violate, and
// the pods are refused.
func (s *Security) Foresee(view object.Reader, obj, old object.Object) (warning string, refused error) {
	if _, err := s.admit(view, obj, old); err != nil {
		return "", err
	}
	meta, spec := podTemplate(obj)
	if spec == nil {
		return "", nil
	}
	if p := s.policy(view, obj.GetNamespace()); p.Enforce.Level != securityapi.LevelPrivileged {
		if detail := s.violations(p.Enforce, meta, spec); detail != "" {
			return fmt.Sprintf("its pods would be refused: violates PodSecurity %q: %s", p.Enforce.String(), detail), nil
		}
	}
	return s.Warning(view, obj), nil
}

// podTemplate is what obj makes pods of, nil if it makes none.
func podTemplate(obj object.Object) (*metav1.ObjectMeta, *corev1.PodSpec) {
	if k, ok := scheme.ForObject(obj); ok && k.PodTemplate != nil {
		return k.PodTemplate(obj)
	}
	return nil, nil
}
