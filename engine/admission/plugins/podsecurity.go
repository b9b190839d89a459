package plugins

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/component-base/metrics/legacyregistry"
	podsecurity "k8s.io/pod-security-admission/admission"
	podsecurityapi "k8s.io/pod-security-admission/admission/api"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var (
	namespaces        = schema.GroupResource{Resource: "namespaces"}
	namespaceKind     = schema.GroupKind{Kind: "Namespace"}
	podKind           = schema.GroupKind{Kind: "Pod"}
	kustomizationKind = schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: kustomizev1.KustomizationKind}
)

// Levels say to which level pods are held in namespaces whose labels say nothing.
type Levels struct {
	// Enforce is privileged (also if empty), baseline or restricted.
	Enforce string
	// Account is the account that Kustomizations without a serviceAccountName act
	// as, except for the command line's own; empty is the cluster itself.
	Account string
}

// podSecurity is PodSecurity, by Kubernetes' library: the labels
// pod-security.kubernetes.io/… of a namespace determine what its pods may do, and
// of what users are warned.
//
// A namespace without an enforced level, to which a Kustomization that acts as
// an account writes, has baseline: roles do not distinguish a harmless pod from
// one that controls the machine.
type podSecurity struct {
	library *podsecurity.Admission
	stored  object.Reader
	levels  Levels
	// templates are the resources whose objects are made to pods, pods among them.
	templates map[schema.GroupResource]bool
	log       *slog.Logger
}

// NewPodSecurity returns PodSecurity alone.
func NewPodSecurity(stored object.Reader, levels Levels, log *slog.Logger) (admission.ValidationInterface, error) {
	levels.Enforce = cmp.Or(levels.Enforce, string(api.LevelPrivileged))
	if _, err := api.ParseLevel(levels.Enforce); err != nil {
		return nil, fmt.Errorf("pod security level %q: %w", levels.Enforce, err)
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("pod security: %w", err)
	}
	p := &podSecurity{stored: stored, levels: levels, templates: map[schema.GroupResource]bool{}, log: log}
	for _, k := range scheme.Kinds() {
		resource := k.Resource().GroupResource()
		p.templates[resource] = k.PodTemplate != nil || podsecurity.DefaultPodSpecExtractor{}.HasPodSpec(resource)
	}
	p.library = &podsecurity.Admission{
		Configuration: &podsecurityapi.PodSecurityConfiguration{Defaults: podsecurityapi.PodSecurityDefaults{
			Enforce: levels.Enforce, EnforceVersion: api.VersionLatest,
			Audit: string(api.LevelPrivileged), AuditVersion: api.VersionLatest,
			Warn: levels.Enforce, WarnVersion: api.VersionLatest,
		}},
		Evaluator: evaluator, Metrics: recorder(), PodSpecExtractor: p, NamespaceGetter: p, PodLister: p,
	}
	if err := p.library.CompleteConfiguration(); err != nil {
		return nil, fmt.Errorf("pod security: %w", err)
	}
	if err := p.library.ValidateConfiguration(); err != nil {
		return nil, fmt.Errorf("pod security: %w", err)
	}
	return p, nil
}

// Handles implements admission.Interface.
func (*podSecurity) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Wants implements admission.Selective. Of the parts of pods, the library knows
// which it need not see.
func (p *podSecurity) Wants(resource schema.GroupResource, subresource string) bool {
	return subresource == "" && (resource == namespaces || p.templates[resource]) || resource == pods && subresource != "status" && subresource != "binding"
}

// Validate implements admission.ValidationInterface.
func (p *podSecurity) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if resource := attrs.GetResource().GroupResource(); resource != namespaces && !p.templates[resource] {
		return nil
	}
	response := p.library.Validate(ctx, attributes{attrs})
	if response.Allowed {
		p.warn(ctx, attrs, response.Warnings)
	}
	p.audit(ctx, attrs, response.AuditAnnotations)
	if response.Allowed {
		return nil
	}
	err := admission.NewForbidden(attrs, errors.New("Not allowed by PodSecurity")) //nolint:staticcheck // Kubernetes' own message
	var refused *apierrors.StatusError
	if r := response.Result; errors.As(err, &refused) && r != nil {
		refused.ErrStatus.Message = cmp.Or(r.Message, refused.ErrStatus.Message)
		refused.ErrStatus.Reason = cmp.Or(r.Reason, refused.ErrStatus.Reason)
		refused.ErrStatus.Code = cmp.Or(r.Code, refused.ErrStatus.Code)
		if r.Details != nil {
			refused.ErrStatus.Details = r.Details
		}
	}
	return err
}

// warn tells the warnings. Who plans to store an object whose pods would be
// refused is told that instead.
func (p *podSecurity) warn(ctx context.Context, attrs admission.Attributes, warnings []string) {
	if chain.Foreseeing(ctx) {
		if detail := p.refusesPods(ctx, attrs); detail != "" {
			warnings = []string{"its pods would be refused: " + detail}
		}
	}
	for _, w := range warnings {
		warning.AddWarning(ctx, "", w)
	}
}

// refusesPods tells why the pods of an object that makes pods would be refused,
// empty if they would not.
func (p *podSecurity) refusesPods(ctx context.Context, attrs admission.Attributes) string {
	obj, ok := attrs.GetObject().(object.Object)
	if !ok || attrs.GetResource().GroupResource() == pods || attrs.GetSubresource() != "" {
		return ""
	}
	meta, spec, err := p.ExtractPodSpec(obj)
	if err != nil || spec == nil {
		return ""
	}
	ns, _ := p.GetNamespace(ctx, attrs.GetNamespace())        // has no error
	enforced, _ := p.library.PolicyToEvaluate(ns.GetLabels()) // of wrong labels it makes restricted
	result := policy.AggregateCheckResults(p.library.Evaluator.EvaluatePod(enforced.Enforce, meta, spec))
	if result.Allowed {
		return ""
	}
	return fmt.Sprintf("violates PodSecurity %q: %s", enforced.Enforce.String(), result.ForbiddenDetail())
}

// audit hands what the library says for the audit log to the request's, and what
// violates the level of the label audit to the log.
func (p *podSecurity) audit(ctx context.Context, attrs admission.Attributes, annotations map[string]string) {
	for key, value := range annotations {
		audit.AddAuditAnnotation(ctx, api.AuditAnnotationPrefix+key, value)
	}
	if detail := annotations[api.AuditViolationsAnnotationKey]; detail != "" && !attrs.IsDryRun() && p.log != nil {
		p.log.Info("PodSecurity: audit", "resource", attrs.GetResource().Resource, "namespace", attrs.GetNamespace(), "name", attrs.GetName(),
			"user", attrs.GetUserInfo().GetName(), "violation", detail)
	}
}

// HasPodSpec implements podsecurity.PodSpecExtractor.
func (p *podSecurity) HasPodSpec(resource schema.GroupResource) bool { return p.templates[resource] }

// ExtractPodSpec implements podsecurity.PodSpecExtractor.
func (*podSecurity) ExtractPodSpec(obj runtime.Object) (*metav1.ObjectMeta, *corev1.PodSpec, error) {
	if o, ok := obj.(object.Object); ok {
		if k, ok := scheme.ForObject(o); ok && k.PodTemplate != nil {
			meta, spec := k.PodTemplate(o)
			return meta, spec, nil
		}
	}
	return podsecurity.DefaultPodSpecExtractor{}.ExtractPodSpec(obj) // what makes no pods itself, such as a PodTemplate
}

// GetNamespace implements podsecurity.NamespaceGetter. Of a namespace that does
// not exist it makes one without labels: it is others who refuse that.
func (p *podSecurity) GetNamespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	view := chain.View(ctx, p.stored)
	var ns *corev1.Namespace
	if view != nil {
		ns, _ = view.Get(object.Key{GroupKind: namespaceKind, Name: name}).(*corev1.Namespace)
	}
	if ns == nil {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, nil
	}
	if _, said := ns.Labels[api.EnforceLevelLabel]; said || p.levels.Enforce != string(api.LevelPrivileged) || !p.tenant(view, name) {
		return ns, nil
	}
	held := *ns
	held.Labels = maps.Clone(ns.Labels)
	if held.Labels == nil {
		held.Labels = map[string]string{}
	}
	held.Labels[api.EnforceLevelLabel] = string(api.LevelBaseline)
	return &held, nil
}

// ListPods implements podsecurity.PodLister.
func (p *podSecurity) ListPods(ctx context.Context, namespace string) ([]*corev1.Pod, error) {
	list, _ := chain.View(ctx, p.stored).List(podKind, namespace)
	pods := make([]*corev1.Pod, 0, len(list))
	for _, obj := range list {
		if pod, ok := obj.(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	return pods, nil
}

// tenant reports whether a Kustomization that acts as an account writes to a
// namespace.
func (p *podSecurity) tenant(view object.Reader, namespace string) bool {
	all, _ := view.List(kustomizationKind, "")
	for _, obj := range all {
		ks, ok := obj.(*kustomizev1.Kustomization)
		if ok && p.actsAsAccount(ks) && (ks.Namespace == namespace || ks.Spec.TargetNamespace == namespace) {
			return true
		}
	}
	return false
}

// actsAsAccount reports whether a Kustomization has an account's rights alone.
// The one of the command line has all, unless it names an account.
func (p *podSecurity) actsAsAccount(ks *kustomizev1.Kustomization) bool {
	return ks.Spec.ServiceAccountName != "" || p.levels.Account != "" && ks.Namespace+"/"+ks.Name != "headway-system/cluster"
}

// attributes are what the library wants to know of a request.
type attributes struct{ admission.Attributes }

// GetOperation implements api.Attributes.
func (a attributes) GetOperation() admissionv1.Operation {
	return admissionv1.Operation(a.Attributes.GetOperation())
}

// GetObject implements api.Attributes.
func (a attributes) GetObject() (runtime.Object, error) { return a.Attributes.GetObject(), nil }

// GetOldObject implements api.Attributes.
func (a attributes) GetOldObject() (runtime.Object, error) { return a.Attributes.GetOldObject(), nil }

// GetUserName implements api.Attributes.
func (a attributes) GetUserName() string { return a.GetUserInfo().GetName() }

// recorder counts what PodSecurity decides, in pod_security_evaluations_total
// and its like, which are the process's.
var recorder = sync.OnceValue(func() *metrics.PrometheusRecorder {
	r := metrics.NewPrometheusRecorder(api.LatestVersion())
	r.MustRegister(legacyregistry.MustRegister)
	return r
})
