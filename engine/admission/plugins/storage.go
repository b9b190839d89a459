package plugins

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/component-helpers/storage/volume"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

var (
	claims       = schema.GroupResource{Resource: "persistentvolumeclaims"}
	volumes      = schema.GroupResource{Resource: "persistentvolumes"}
	classKind    = schema.GroupKind{Group: storagev1.GroupName, Kind: "StorageClass"}
	protectsWith = map[schema.GroupResource]string{claims: "kubernetes.io/pvc-protection", volumes: "kubernetes.io/pv-protection"}
)

// defaultClass is DefaultStorageClass: a claim that names no class gets the default.
type defaultClass struct{ stored object.Reader }

// Handles implements admission.Interface.
func (defaultClass) Handles(op admission.Operation) bool { return op == admission.Create }

// Wants implements admission.Selective.
func (defaultClass) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == claims && subresource == ""
}

// Admit implements admission.MutationInterface.
func (p defaultClass) Admit(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := attrs.GetObject().(*corev1.PersistentVolumeClaim)
	if !ok || volume.PersistentVolumeClaimHasClass(claim) {
		return nil
	}
	classes, _ := chain.View(ctx, p.stored).List(classKind, "")
	if class := storage.Default(classes); class != nil {
		claim.Spec.StorageClassName = &class.Name
	}
	return nil
}

// inUse is StorageObjectInUseProtection: claims and volumes begin with the finalizer
// that holds them while they are used.
type inUse struct{}

// Handles implements admission.Interface.
func (inUse) Handles(op admission.Operation) bool { return op == admission.Create }

// Wants implements admission.Selective.
func (inUse) Wants(resource schema.GroupResource, subresource string) bool {
	return protectsWith[resource] != "" && subresource == ""
}

// Admit implements admission.MutationInterface.
func (inUse) Admit(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	name := protectsWith[attrs.GetResource().GroupResource()]
	if obj, ok := attrs.GetObject().(object.Object); ok && !slices.Contains(obj.GetFinalizers(), name) {
		obj.SetFinalizers(append(slices.Clone(obj.GetFinalizers()), name))
	}
	return nil
}

// claimResize is PersistentVolumeClaimResize: a claim asks for more only if its class
// says that it can have it.
type claimResize struct{ stored object.Reader }

// Handles implements admission.Interface.
func (claimResize) Handles(op admission.Operation) bool { return op == admission.Update }

// Wants implements admission.Selective.
func (claimResize) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == claims && subresource == ""
}

// Validate implements admission.ValidationInterface.
func (p claimResize) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	claim, ok := attrs.GetObject().(*corev1.PersistentVolumeClaim)
	old, was := attrs.GetOldObject().(*corev1.PersistentVolumeClaim)
	if !ok || !was {
		return nil
	}
	size, before := claim.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(before) <= 0 {
		return nil
	}
	if old.Status.Phase != corev1.ClaimBound {
		return admission.NewForbidden(attrs, errors.New("Only bound persistent volume claims can be expanded")) //nolint:staticcheck // Kubernetes' words
	}
	name := volume.GetPersistentVolumeClaimClass(claim)
	class, _ := chain.View(ctx, p.stored).Get(object.Key{GroupKind: classKind, Name: name}).(*storagev1.StorageClass)
	if name == "" || class == nil || class.AllowVolumeExpansion == nil || !*class.AllowVolumeExpansion {
		return admission.NewForbidden(attrs, errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"))
	}
	return nil
}
