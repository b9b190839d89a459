package configured

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	"k8s.io/client-go/informers/core"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// The types below are the informers and the client that the library's plugins of
// webhooks ask for: they have one state of the configurations, and are never told
// of another. A method that the plugins do not call is nil, and would be told as
// a panic of the plugin.

// factory implements informers.SharedInformerFactory.
type factory struct {
	informers.SharedInformerFactory
	configurations cache.Indexer
	namespaces     corelisters.NamespaceLister
}

// Admissionregistration implements informers.SharedInformerFactory.
func (f factory) Admissionregistration() admissionregistration.Interface {
	return admissionGroup{configurations: f.configurations}
}

// Core implements informers.SharedInformerFactory.
func (f factory) Core() core.Interface { return coreGroup{lister: f.namespaces} }

type admissionGroup struct {
	admissionregistration.Interface
	configurations cache.Indexer
}

// V1 implements admissionregistration.Interface.
func (g admissionGroup) V1() admissioninformers.Interface {
	return admissionV1{configurations: g.configurations}
}

type admissionV1 struct {
	admissioninformers.Interface
	configurations cache.Indexer
}

// MutatingWebhookConfigurations implements admissioninformers.Interface.
func (v admissionV1) MutatingWebhookConfigurations() admissioninformers.TypedMutatingWebhookConfigurationInformer {
	return admissioninformers.ToTypedMutatingWebhookConfigurationInformer(mutatingInformer{v.configurations})
}

// ValidatingWebhookConfigurations implements admissioninformers.Interface.
func (v admissionV1) ValidatingWebhookConfigurations() admissioninformers.TypedValidatingWebhookConfigurationInformer {
	return admissioninformers.ToTypedValidatingWebhookConfigurationInformer(validatingInformer{v.configurations})
}

type mutatingInformer struct{ configurations cache.Indexer }

// Informer implements admissioninformers.MutatingWebhookConfigurationInformer.
func (mutatingInformer) Informer() cache.SharedIndexInformer { return settled{} }

// Lister implements admissioninformers.MutatingWebhookConfigurationInformer.
func (i mutatingInformer) Lister() admissionlisters.MutatingWebhookConfigurationLister {
	return admissionlisters.NewMutatingWebhookConfigurationLister(i.configurations)
}

type validatingInformer struct{ configurations cache.Indexer }

// Informer implements admissioninformers.ValidatingWebhookConfigurationInformer.
func (validatingInformer) Informer() cache.SharedIndexInformer { return settled{} }

// Lister implements admissioninformers.ValidatingWebhookConfigurationInformer.
func (i validatingInformer) Lister() admissionlisters.ValidatingWebhookConfigurationLister {
	return admissionlisters.NewValidatingWebhookConfigurationLister(i.configurations)
}

type coreGroup struct {
	core.Interface
	lister corelisters.NamespaceLister
}

// V1 implements core.Interface.
func (g coreGroup) V1() coreinformers.Interface { return coreV1{lister: g.lister} }

type coreV1 struct {
	coreinformers.Interface
	lister corelisters.NamespaceLister
}

// Namespaces implements coreinformers.Interface.
func (v coreV1) Namespaces() coreinformers.TypedNamespaceInformer {
	return coreinformers.ToTypedNamespaceInformer(namespaceInformer{v.lister})
}

type namespaceInformer struct{ lister corelisters.NamespaceLister }

// Informer implements coreinformers.NamespaceInformer.
func (namespaceInformer) Informer() cache.SharedIndexInformer { return settled{} }

// Lister implements coreinformers.NamespaceInformer.
func (i namespaceInformer) Lister() corelisters.NamespaceLister { return i.lister }

// settled is the informer of a state that does not change.
type settled struct{ cache.SharedIndexInformer }

// HasSynced implements cache.SharedInformer.
func (settled) HasSynced() bool { return true }

// AddEventHandler implements cache.SharedInformer.
func (settled) AddEventHandler(cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return registered{}, nil
}

type registered struct {
	cache.ResourceEventHandlerRegistration
}

// HasSynced implements cache.ResourceEventHandlerRegistration.
func (registered) HasSynced() bool { return true }

// noClient implements kubernetes.Interface. The plugins ask it for namespaces
// that their lister does not have, in case that it lags.
type noClient struct{ kubernetes.Interface }

// CoreV1 implements kubernetes.Interface.
func (noClient) CoreV1() coreclient.CoreV1Interface { return noCore{} }

type noCore struct{ coreclient.CoreV1Interface }

// Namespaces implements coreclient.NamespacesGetter.
func (noCore) Namespaces() coreclient.NamespaceInterface { return noNamespaces{} }

type noNamespaces struct{ coreclient.NamespaceInterface }

// Get implements coreclient.NamespaceInterface.
func (noNamespaces) Get(_ context.Context, name string, _ metav1.GetOptions) (*corev1.Namespace, error) {
	return nil, noNamespace(name)
}

func noNamespace(name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
}

// indexer contains configurations.
func indexer[T any](list []*T) cache.Indexer {
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for _, obj := range list {
		_ = i.Add(obj) // a key cannot be missing: they are objects
	}
	return i
}
