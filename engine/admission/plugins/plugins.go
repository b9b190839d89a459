// Package plugins has the admission plugins of the cluster, under Kubernetes'
// names, in its order and with its messages. [New] makes all of them.
package plugins

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/quota"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var pods = schema.GroupResource{Resource: "pods"}

// Config of New.
type Config struct {
	// Stored is what plugins read.
	Stored object.Reader
	// PodSecurity is what namespaces that say nothing let pods do (see
	// NewPodSecurity).
	PodSecurity Levels
	// Tolerations is how long pods stay on nodes that have gone bad.
	Tolerations Tolerations
	// Kinds are the kinds of the store, whose objects quotas count (default:
	// Headway's own).
	Kinds quota.Kinds
	// Configured are the plugins of which users say what they do, which come last
	// but for ResourceQuota.
	Configured []chain.Plugin
	Log        *slog.Logger
}

// New returns the plugins in Kubernetes' order, and last those that it does not
// have.
func New(cfg Config) ([]chain.Plugin, error) {
	security, err := NewPodSecurity(cfg.Stored, cfg.PodSecurity, cfg.Log)
	if err != nil {
		return nil, err
	}
	if cfg.Kinds == nil {
		cfg.Kinds = &scheme.Registry{}
	}
	all := append([]chain.Plugin{
		{Name: "NamespaceLifecycle", Interface: namespaceLifecycle{cfg.Stored}, Requests: true},
		{Name: "LimitRanger", Interface: limitRanger{stored: cfg.Stored}},
		{Name: "ServiceAccount", Interface: serviceAccount{cfg.Stored}},
		{Name: "TaintNodesByCondition", Interface: newNode{}},
		{Name: "PodSecurity", Interface: security},
		{Name: "Priority", Interface: priority{cfg.Stored}},
		{Name: "DefaultTolerationSeconds", Interface: newDefaultTolerations(cfg.Tolerations)},
		{Name: "DefaultStorageClass", Interface: defaultClass{cfg.Stored}},
		{Name: "StorageObjectInUseProtection", Interface: inUse{}},
		{Name: "PersistentVolumeClaimResize", Interface: claimResize{cfg.Stored}},
		{Name: "RuntimeClass", Interface: runtimeClass{stored: cfg.Stored}},
		{Name: "CertificateSubjectRestriction", Interface: subjectRestriction{}},
		{Name: "DefaultIngressClass", Interface: defaultIngressClass{cfg.Stored}},
		{Name: "CertificateRequester", Interface: requester{}},
		{Name: "PodResizeValidator", Interface: podResize{cfg.Stored}},
	}, cfg.Configured...)
	quotas := resourceQuota{cfg.Stored, quota.Quotas{Kinds: cfg.Kinds, Now: time.Now}}
	return append(all, chain.Plugin{Name: "PodAmounts", Interface: podAmounts{}}, chain.Plugin{Name: "ResourceQuota", Interface: quotas, Requests: true}), nil
}

// Scheduled is a pod with what the plugins that the scheduler goes by would make of it
// if it was created among what view has: its amounts, its priority, its runtime class.
// It is what others may still refuse.
func Scheduled(ctx context.Context, view object.Reader, pod *corev1.Pod) (*corev1.Pod, error) {
	pod = pod.DeepCopy()
	attrs := admission.NewAttributesRecord(pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), pod.Namespace, pod.Name,
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, nil, true, &user.DefaultInfo{})
	for _, plugin := range []admission.MutationInterface{limitRanger{stored: view}, priority{view}, runtimeClass{stored: view}, podAmounts{}} {
		if err := plugin.Admit(ctx, attrs, nil); err != nil {
			return nil, fmt.Errorf("ask what a pod would be: %w", err)
		}
	}
	return pod, nil
}

// ofPods is part of plugins that look at pods which are created.
type ofPods struct{}

// Handles implements admission.Interface.
func (ofPods) Handles(op admission.Operation) bool { return op == admission.Create }

// Wants implements admission.Selective.
func (ofPods) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == pods && subresource == ""
}

// newPod is the pod that is created, nil if it is something else.
func newPod(attrs admission.Attributes) *corev1.Pod {
	if attrs.GetOperation() != admission.Create || attrs.GetResource().GroupResource() != pods || attrs.GetSubresource() != "" {
		return nil
	}
	pod, _ := attrs.GetObject().(*corev1.Pod)
	return pod
}
