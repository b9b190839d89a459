package objects

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/model/kinds/storage"
)

// Volume returns the volume that a claim is bound to. It asks the API: a pod needs it
// once.
func (o *Cache) Volume(ctx context.Context, namespace, claim string) (*corev1.PersistentVolume, error) {
	fail := func(err error) error { return fmt.Errorf("error processing PVC %s/%s: %w", namespace, claim, err) }
	c, err := o.client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, claim, metav1.GetOptions{})
	switch {
	case err != nil:
		return nil, fail(fmt.Errorf("failed to fetch PVC from API server: %w", err))
	case c.DeletionTimestamp != nil:
		return nil, fail(errors.New("PVC is being deleted"))
	case c.Status.Phase != corev1.ClaimBound || c.Spec.VolumeName == "":
		return nil, fail(errors.New("PVC is not bound"))
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

// FollowVolumes keeps store equal to the volumes that have their data on a node, until
// ctx ends.
func FollowVolumes(ctx context.Context, client kubernetes.Interface, node string, store cache.ReflectorStore) {
	Follow(ctx, client, volumesOf{client, node}, "", &corev1.PersistentVolume{}, store, "node-volumes")
}

type volumesOf struct {
	client kubernetes.Interface
	node   string
}

func (v volumesOf) selector() string {
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
