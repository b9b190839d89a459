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

var validatingWebhookConfiguration = kind.Define[admissionregistrationv1.ValidatingWebhookConfiguration, admissionregistrationv1.ValidatingWebhookConfigurationList](kind.Definition[*admissionregistrationv1.ValidatingWebhookConfiguration]{
	Names: kind.Names{
		GroupVersionKind: admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingWebhookConfiguration"),
		Plural:           "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
		Categories: []string{"api-extensions"},
	},
	Order:   2010,
	REST:    kind.REST{VersionRequired: true},
	Default: defaultValidatingWebhookConfiguration,
	Lifecycle: kind.Lifecycle[*admissionregistrationv1.ValidatingWebhookConfiguration]{
		Changed: func(c, old *admissionregistrationv1.ValidatingWebhookConfiguration) bool {
			return kind.Differ(c.Webhooks, old.Webhooks)
		},
	},
	Rules: kind.Rules[*admissionregistrationv1.ValidatingWebhookConfiguration]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object: func(c *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(validatingHooks(c.Webhooks), nil)
		},
		Replaces: func(c, old *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
			return validateWebhooks(validatingHooks(c.Webhooks), validatingHooks(old.Webhooks))
		},
	},
	Table: kind.Table[*admissionregistrationv1.ValidatingWebhookConfiguration]{
		Columns: column.Define("Name", "#Webhooks", "Age"),
		Row: func(c *admissionregistrationv1.ValidatingWebhookConfiguration, now time.Time) []any {
			return []any{c.Name, int64(len(c.Webhooks)), column.Age(c, now)}
		},
	},
})

func defaultValidatingWebhookConfiguration(c *admissionregistrationv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		fill.Unset(&h.FailurePolicy, admissionregistrationv1.Fail)
		fill.Unset(&h.MatchPolicy, admissionregistrationv1.Equivalent)
		fill.Unset(&h.NamespaceSelector, metav1.LabelSelector{})
		fill.Unset(&h.ObjectSelector, metav1.LabelSelector{})
		fill.Unset(&h.TimeoutSeconds, defaultTimeout)
		defaultTarget(&h.ClientConfig, h.Rules)
	}
}

func validatingHooks(list []admissionregistrationv1.ValidatingWebhook) []hook {
	hooks := make([]hook, len(list))
	for i, h := range list {
		hooks[i] = hook{
			h.Name, h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.NamespaceSelector, h.ObjectSelector,
			h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions, nil, h.MatchConditions,
		}
	}
	return hooks
}
