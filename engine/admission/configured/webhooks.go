package configured

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/tools/cache"

	chain "headway.dev/engine/admission"
)

// reviews are what is asked of the API and stored nowhere: no webhook and no
// policy may keep a cluster from telling who may do what.
var reviews = []schema.GroupResource{
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
	{Group: "authentication.k8s.io", Resource: "tokenreviews"},
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
}

// hooks are all webhooks of one of the two kinds, in one state.
type hooks[P any] struct {
	targets
	plugin P // nil if there is none
	err    error
}

// webhooks is what both plugins of webhooks have in common.
type webhooks[P any] struct {
	state[hooks[P]]
	namespaces *shared
}

// Wants implements chain.Selective.
func (w *webhooks[P]) Wants(resource schema.GroupResource, subresource string) bool {
	return wanted(w.get().targets, resource, subresource)
}

// dispatch asks the webhooks.
func (w *webhooks[P]) dispatch(ctx context.Context, attrs admission.Attributes, ask func(P) error) error {
	h := w.get()
	if h.err != nil {
		return apierrors.NewInternalError(h.err)
	}
	if len(h.targets) == 0 {
		return nil
	}
	defer w.namespaces.during(ctx, attrs.GetNamespace())()
	return foreseen(ctx, ask(h.plugin))
}

// wanted reports whether configurations are about a resource, in one of the forms
// in which it is served.
func wanted(t targets, resource schema.GroupResource, subresource string) bool {
	if len(t) == 0 || resource.Group == admissionregistrationv1.GroupName {
		return false
	}
	if t.concern(resource, subresource) {
		return true
	}
	for _, other := range chain.Forms(resource) {
		if t.concern(other, subresource) {
			return true
		}
	}
	return false
}

// foreseen leaves a webhook that is not prepared for dry runs unasked while
// something is only thought of, and tells that.
func foreseen(ctx context.Context, err error) error {
	if err == nil || !chain.Foreseeing(ctx) || !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "does not support dry run") {
		return err
	}
	warning.AddWarning(ctx, "", "not known before it is applied: "+err.Error())
	return nil
}

// mutatingWebhooks is MutatingAdmissionWebhook.
type mutatingWebhooks struct{ webhooks[*mutating.Plugin] }

// Handles implements admission.Interface.
func (*mutatingWebhooks) Handles(admission.Operation) bool { return true }

// Admit implements admission.MutationInterface.
func (w *mutatingWebhooks) Admit(ctx context.Context, attrs admission.Attributes, o admission.ObjectInterfaces) error {
	return w.dispatch(ctx, attrs, func(p *mutating.Plugin) error { return p.Admit(ctx, attrs, chain.Interfaces(attrs, o)) })
}

// validatingWebhooks is ValidatingAdmissionWebhook.
type validatingWebhooks struct{ webhooks[*validating.Plugin] }

// Handles implements admission.Interface.
func (*validatingWebhooks) Handles(admission.Operation) bool { return true }

// Validate implements admission.ValidationInterface.
func (w *validatingWebhooks) Validate(ctx context.Context, attrs admission.Attributes, o admission.ObjectInterfaces) error {
	return w.dispatch(ctx, attrs, func(p *validating.Plugin) error { return p.Validate(ctx, attrs, chain.Interfaces(attrs, o)) })
}

func newMutatingWebhooks(cfg Config, namespaces *shared) *mutatingWebhooks {
	w := &mutatingWebhooks{}
	w.namespaces = namespaces
	w.configurations, w.kinds = cfg.Configurations, []schema.GroupKind{mutatingWebhooksKind}
	w.make = func(c snapshot) (h hooks[*mutating.Plugin]) {
		all := list[*admissionregistrationv1.MutatingWebhookConfiguration](c, mutatingWebhooksKind)
		for _, one := range all {
			for i := range one.Webhooks {
				h.add(one.Webhooks[i].Rules)
			}
		}
		if len(h.targets) > 0 {
			h.plugin, h.err = mutating.NewMutatingWebhook(nil)
			if h.err == nil {
				h.err = setUp(h.plugin.Webhook, cfg, namespaces, indexer(all))
			}
		}
		return h
	}
	return w
}

func newValidatingWebhooks(cfg Config, namespaces *shared) *validatingWebhooks {
	w := &validatingWebhooks{}
	w.namespaces = namespaces
	w.configurations, w.kinds = cfg.Configurations, []schema.GroupKind{validatingWebhooksKind}
	w.make = func(c snapshot) (h hooks[*validating.Plugin]) {
		all := list[*admissionregistrationv1.ValidatingWebhookConfiguration](c, validatingWebhooksKind)
		for _, one := range all {
			for i := range one.Webhooks {
				h.add(one.Webhooks[i].Rules)
			}
		}
		if len(h.targets) > 0 {
			h.plugin, h.err = validating.NewValidatingAdmissionWebhook(nil)
			if h.err == nil {
				h.err = setUp(h.plugin.Webhook, cfg, namespaces, indexer(all))
			}
		}
		return h
	}
	return w
}

func (h *hooks[P]) add(rules []admissionregistrationv1.RuleWithOperations) {
	for _, r := range rules {
		h.targets = append(h.targets, r.Rule)
	}
}

// setUp gives a plugin of the library what it reads.
func setUp(w *generic.Webhook, cfg Config, namespaces *shared, configurations cache.Indexer) error {
	w.SetServiceResolver(NewServices(cfg.Stored))
	w.SetAuthenticationInfoResolverWrapper(guarded(cfg.Egress, cfg.Pods, mostAnswer))
	w.SetExternalKubeClientSet(noClient{})
	w.SetExternalKubeInformerFactory(factory{configurations: configurations, namespaces: namespaces})
	w.SetUnconditionalAuthorizer(cfg.Authorizer)
	w.SetExcludedAdmissionResources(reviews)
	w.InspectFeatureGates(utilfeature.DefaultFeatureGate)
	if err := w.ValidateInitialization(); err != nil {
		return fmt.Errorf("set up the admission webhooks: %w", err)
	}
	return nil
}
