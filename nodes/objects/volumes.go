package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-helpers/storage/ephemeral"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/podspec"
)

// Volume returns the volume that a claim of a pod is bound to. It asks the API: a pod
// needs it once.
func (o *Cache) Volume(ctx context.Context, pod *corev1.Pod, claim string) (*corev1.PersistentVolume, error) {
	fail := func(err error) error { return fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, claim, err) }
	c, err := o.client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, claim, metav1.GetOptions{})
	switch {
	case err != nil:
		return nil, fail(fmt.Errorf("failed to fetch PVC from API server: %w", err))
	case c.DeletionTimestamp != nil:
		return nil, fail(errors.New("PVC is being deleted"))
	case c.Status.Phase != corev1.ClaimBound || c.Spec.VolumeName == "":
		return nil, fail(errors.New("PVC is not bound"))
	}
	if podspec.OwnVolume(pod, claim) != nil {
		if err := ephemeral.VolumeIsForPod(pod, c); err != nil {
			return nil, fail(err)
		}
	}
	pv, err := o.client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, fail(fmt.Errorf("failed to fetch PV %s from API server: %w", c.Spec.VolumeName, err))
	}
	if ref := pv.Spec.ClaimRef; ref == nil || ref.UID != c.UID {
		return nil, fail(fmt.Errorf("PV %s is not bound to it", pv.Name))
	}
	return pv, nil
}

// abandoned reports whether a volume is deleted, and no claim has it: its node is to
// remove its data.
func abandoned(pv *corev1.PersistentVolume) bool {
	return pv.DeletionTimestamp != nil && pv.Status.Phase != corev1.VolumeBound && slices.Contains(pv.Finalizers, storage.LocalFinalizer)
}

// Forget says of the very volume that was looked at that its data are removed.
func Forget(ctx context.Context, client kubernetes.Interface, pv *corev1.PersistentVolume) error {
	rest := slices.DeleteFunc(slices.Clone(pv.Finalizers), func(f string) bool { return f == storage.LocalFinalizer })
	if rest == nil {
		rest = []string{}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pv.UID, "resourceVersion": pv.ResourceVersion, "finalizers": rest}})
	if err != nil {
		return fmt.Errorf("encode a patch: %w", err)
	}
	_, err = client.CoreV1().PersistentVolumes().Patch(ctx, pv.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("say that its data are removed: %w", err)
	}
	return nil
}

// volumesOf are the volumes that have their data on a node, on any if it is empty.
type volumesOf struct {
	client kubernetes.Interface
	node   string
}

func (v volumesOf) selector() string {
	if v.node == "" {
		return storage.NodeLabel
	}
	return labels.Set{storage.NodeLabel: v.node}.AsSelector().String()
}

// List implements lister.
func (v volumesOf) List(ctx context.Context, opts metav1.ListOptions) (*corev1.PersistentVolumeList, error) {
	opts.LabelSelector = v.selector()
	return v.client.CoreV1().PersistentVolumes().List(ctx, opts)
}

// Watch implements lister.
func (v volumesOf) Watch(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.LabelSelector = v.selector()
	return v.client.CoreV1().PersistentVolumes().Watch(ctx, opts)
}
