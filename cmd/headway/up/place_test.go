package up

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

type kept map[string][]object.Object

func (k kept) Get(object.Key) object.Object { return nil }

func (k kept) List(kind schema.GroupKind, _ string) ([]object.Object, uint64) {
	return k[kind.Kind], 1
}

// Why a pod is where it is, or is nowhere, is told of its claims, too.
func TestPlaceKnowsClaims(t *testing.T) {
	t.Parallel()
	node := func(name string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}, Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("9")},
		}}
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "disk"},
	}
	waiting := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "log"}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: new(storage.LocalClass)}}
	disk := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}, Spec: corev1.PersistentVolumeSpec{
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}},
		}}}},
	}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}}
	ask := place(kept{
		"Node": {node("a"), node("b")}, "PersistentVolumeClaim": {claim, waiting}, "PersistentVolume": {disk}, "StorageClass": {storage.Local()},
	}, nil)()
	pod := func(claim, on string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db"}, Spec: corev1.PodSpec{
			NodeName: on, Containers: []corev1.Container{{Name: "main"}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}},
		}}
	}
	reasons := func(claim, on, node string) []string {
		for _, n := range ask(pod(claim, on)).Nodes {
			if n.Node == node {
				return n.Reasons
			}
		}
		return nil
	}
	if got := reasons("data", "b", "a"); !slices.Equal(got, []string{"node(s) didn't match PersistentVolume's node affinity"}) {
		t.Errorf("why not on a: %q", got)
	}
	if got := ask(pod("data", "")).Node; got != "b" {
		t.Errorf("a pod whose volume is on b would be on %q", got)
	}
	if got := reasons("log", "", "a"); !slices.Equal(got, []string{"node(s) didn't find available persistent volumes to bind"}) {
		t.Errorf("why not on a, which keeps no volumes: %q", got)
	}
	if got, want := ask(pod("none", "")).Message, `0/2 nodes are available: persistentvolumeclaim "none" not found. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.`; got != want {
		t.Errorf("message: %q, want %q", got, want)
	}
}
