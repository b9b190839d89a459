package configured

import (
	"k8s.io/apimachinery/pkg/util/managedfields"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Config of New.
type Config struct {
	// Stored is what plugins read.
	Stored object.Reader
	// Kinds are those of the cluster, and Converter converts custom resources by
	// webhooks; nil: there are none.
	Kinds     *scheme.Registry
	Converter custom.Converter
	// Configurations have observed what Stored reads.
	Configurations *Configurations
	// Authorizer is whom expressions ask who may do what.
	Authorizer authorizer.UnconditionalAuthorizer
	// Types knows how the fields of the kinds are merged.
	Types managedfields.TypeConverter
	// Egress says which addresses webhooks must not have; nil denies none.
	Egress *egress.Policy
	// Pods connects to the endpoints of Services; nil: they are dialled.
	Pods Dial
}

// New returns the plugins in Kubernetes' order.
func New(cfg Config) []chain.Plugin {
	namespaces := &shared{stored: cfg.Stored}
	return []chain.Plugin{
		{Name: mutatingpolicy.PluginName, Interface: newMutatingPolicies(cfg), Users: true},
		{Name: "MutatingAdmissionWebhook", Interface: newMutatingWebhooks(cfg, namespaces), Users: true},
		{Name: validatingpolicy.PluginName, Interface: newValidatingPolicies(cfg)},
		{Name: "ValidatingAdmissionWebhook", Interface: newValidatingWebhooks(cfg, namespaces)},
	}
}
