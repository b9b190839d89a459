package admissionregistration

import (
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
)

var mutatingWebhookConfiguration = kind.Define[admissionregistrationv1.MutatingWebhookConfiguration, admissionregistrationv1.MutatingWebhookConfigurationList](kind.Definition[*admissionregistrationv1.MutatingWebhookConfiguration]{
	Names: kind.Names{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingWebhookConfiguration"),
		Plural:           "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
		Categories: []string{"api-extensions"},
	},
	Order:   2000,
	REST:    kind.REST{VersionRequired: true},
	Default: defaultMutatingWebhookConfiguration,
	Lifecycle: kind.Lifecycle[*admissionregistrationv1.MutatingWebhookConfiguration]{
		Changed: func(c, old *admissionregistrationv1.MutatingWebhookConfiguration) bool {
			return kind.Differ(c.Webhooks, old.Webhooks)
		},
	},
	Rules: kind.Rules[*admissionregistrationv1.MutatingWebhookConfiguration]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object: func(c *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(mutatingHooks(c.Webhooks), nil)
		},
		Replaces: func(c, old *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(mutatingHooks(c.Webhooks), mutatingHooks(old.Webhooks))
		},
	},
	Table: kind.Table[*admissionregistrationv1.MutatingWebhookConfiguration]{
		Columns: column.Define("Name", "#Webhooks", "Age"),
		Row: func(c *admissionregistrationv1.MutatingWebhookConfiguration, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), column.Age(c, now)}
		},
	},
})

func defaultMutatingWebhookConfiguration(c *admissionregistrationv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		fill.Unset(&h.FailurePolicy, admissionregistrationv1.Fail)
		fill.Unset(&h.MatchPolicy, admissionregistrationv1.Equivalent)
		fill.Unset(&h.NamespaceSelector, metav1.LabelSelector{})
		fill.Unset(&h.ObjectSelector, metav1.LabelSelector{})
		fill.Unset(&h.TimeoutSeconds, defaultTimeout)
		fill.Unset(&h.ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
		defaultTarget(&h.ClientConfig, h.Rules)
	}
}

func mutatingHooks(list []admissionregistrationv1.MutatingWebhook) []hook {
	hooks := make([]hook, len(list))
	for i, h := range list {
		hooks[i] = hook{
			h.Name, h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.NamespaceSelector, h.ObjectSelector,
			h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions, h.ReinvocationPolicy, h.MatchConditions,
		}
	}
	return hooks
}
