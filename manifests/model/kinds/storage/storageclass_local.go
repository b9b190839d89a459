package storage

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
)

// Every cluster has the class LocalClass, which is the default, of the provisioner
// LocalProvisioner. Its volumes are directories on the disk of the node that runs the
// first pod of a claim:
//
//	agent                 Node: VolumesAnnotation says where the node keeps them
//	scheduler             claim: volume.kubernetes.io/selected-node
//	persistentvolume-binder-controller   volume: spec.local.path, NodeLabel, LocalFinalizer
//	agent                 makes the directory for the first pod
//	binder                deletes a volume that nobody claims any more
//	agent                 removes the directory, then LocalFinalizer
const (
	LocalClass       = "headway-local"
	LocalProvisioner = "headway.dev/local"
	// VolumesAnnotation of a node is the directory that has its volumes.
	VolumesAnnotation = "headway.dev/volumes-dir"
	// NodeLabel of a volume is the node that has its directory.
	NodeLabel = "headway.dev/node"
	// LocalFinalizer holds a volume until its node has removed the directory.
	LocalFinalizer = "headway.dev/local-volume"
)

// DefaultClassAnnotation makes a class the default.
const (
	DefaultClassAnnotation     = "storageclass.kubernetes.io/is-default-class"
	betaDefaultClassAnnotation = "storageclass.beta.kubernetes.io/is-default-class"
)

// Local returns the class that every cluster has.
func Local() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{Name: LocalClass, Annotations: map[string]string{DefaultClassAnnotation: "true"}},
		Provisioner:       LocalProvisioner,
		ReclaimPolicy:     new(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// IsDefault reports whether a class is for claims that name none.
func IsDefault(c *storagev1.StorageClass) bool {
	return c.Annotations[DefaultClassAnnotation] == "true" || c.Annotations[betaDefaultClassAnnotation] == "true"
}

// LocalDirectory returns the directory of a volume that LocalProvisioner made on a
// node which keeps its volumes in dir; empty if the volume is another.
func LocalDirectory(pv *corev1.PersistentVolume, dir string) string {
	if pv.Annotations[volume.AnnDynamicallyProvisioned] != LocalProvisioner || pv.Spec.Local == nil || dir == "" {
		return ""
	}
	if p := path.Join(dir, pv.Name); pv.Spec.Local.Path == p && path.Dir(p) == path.Clean(dir) {
		return p
	}
	return ""
}
