package up

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/preview/rollout"
)

// objects are a cluster.
type objects []object.Object

// Get implements object.Reader.
func (o objects) Get(key object.Key) object.Object {
	for _, obj := range o {
		if k, err := scheme.KeyOf(obj); err == nil && k == key {
			return obj
		}
	}
	return nil
}

// List implements object.Reader.
func (o objects) List(kind schema.GroupKind, namespace string) (list []object.Object, version uint64) {
	for _, obj := range o {
		if k, err := scheme.KeyOf(obj); err == nil && k.GroupKind == kind && (namespace == "" || namespace == k.Namespace) {
			list = append(list, obj)
		}
	}
	return list, 0
}

// A plan's pods have the priority and the overhead of their classes, which may come with
// it, and have less important ones leave that no budget holds.
func TestSimulate(t *testing.T) {
	cpus := func(n string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n), corev1.ResourcePods: resource.MustParse("9")}
	}
	pod := func(name, node, cpu string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{
			NodeName: node, Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}},
		}}
		p.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Pod"))
		return p
	}
	stored := objects{
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.NodeStatus{Allocatable: cpus("4")}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Status: corev1.NodeStatus{Allocatable: cpus("4")}},
		pod("guarded", "a", "3"), pod("free", "b", "3"),
		&policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "guard"}, Spec: policyv1.PodDisruptionBudgetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}},
		}},
	}
	classes := objects{
		&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 10},
		&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "kata"}, Handler: "kata", Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("3500m")}}},
	}
	important, boxed := pod("web", "", "2"), pod("boxed", "", "1")
	important.Spec.PriorityClassName, boxed.Spec.RuntimeClassName = "high", new("kata")
	got := simulate(stored, nil)(t.Context(), classes, []rollout.Rollout{{Pod: important, Count: 1}, {Pod: boxed, Count: 1}})
	for i := range got {
		for j := range got[i].Victims {
			got[i].Victims[j].Pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: got[i].Victims[j].Pod.Name}}
		}
	}
	want := []rollout.Placement{
		{Placed: 1, Late: 1, Victims: []rollout.Victim{{Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "free"}}, Then: "Ends"}}},
		{Message: "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("placements (-want +got):\n%s", d)
	}
}

// Claims get the volumes and the classes that come with them in the same commit.
func TestSimulateVolumes(t *testing.T) {
	stored := objects{&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{storage.VolumesAnnotation: "/volumes"}},
		Status:     corev1.NodeStatus{Allocatable: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("9")}},
	}}
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	keep := storage.Local()
	keep.Name = "keep"
	brought := slices.Concat(stored, objects{keep, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: "manual", Capacity: size, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
	}}})
	roll := func(class string) rollout.Rollout {
		return rollout.Rollout{
			Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: class}, Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c"}},
				Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: class}}}},
			}},
			Count: 1,
			Claims: []*corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: class}, Spec: corev1.PersistentVolumeClaimSpec{
				StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
				Resources: corev1.VolumeResourceRequirements{Requests: size},
			}}},
		}
	}
	got := simulate(stored, nil)(t.Context(), brought, []rollout.Rollout{roll("keep"), roll("manual"), roll("none")})
	const none = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	if d := cmp.Diff([]rollout.Placement{{Placed: 1}, {Placed: 1}, {Message: none}}, got); d != "" {
		t.Errorf("placements (-want +got):\n%s", d)
	}
}
