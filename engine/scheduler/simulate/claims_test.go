package simulate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/scheduler/simulate"
	"headway.dev/engine/scheduler/volumes"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/storage"
)

// TestClaims: pods whose claims are not there yet get nodes where volumes can be had; those
// of a claim that has a volume go where that is.
func TestClaims(t *testing.T) {
	const nowhere = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	nodes := []*corev1.Node{node("a"), node("b"), node("plain")}
	for _, n := range nodes {
		n.Labels = map[string]string{corev1.LabelHostname: n.Name}
		if n.Name != "plain" {
			n.Annotations = map[string]string{storage.VolumesAnnotation: "/volumes"}
		}
	}
	claim := func(name, class string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
		}}
		if class != "default" {
			c.Spec.StorageClassName = &class
		}
		return c
	}
	class := func(name, provisioner string, mode storagev1.VolumeBindingMode) *storagev1.StorageClass {
		return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
	}
	disk := func(name, class, on string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}, Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class, Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{on}}},
			}}}},
		}}
	}
	known := volumes.New()
	for _, c := range []*storagev1.StorageClass{
		storage.Local(), class("disks", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer),
		class("cloud", "example.com/cloud", storagev1.VolumeBindingImmediate), class("later", "example.com/cloud", storagev1.VolumeBindingWaitForFirstConsumer),
	} {
		known.SetClass(c)
	}
	// What is stored: a claim with its volume, one without, and a volume that is free.
	kept, pv := claim("db-0", storage.LocalClass), disk("kept", storage.LocalClass, "b")
	kept.Spec.VolumeName, kept.Annotations = "kept", map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
	pv.Status.Phase = corev1.VolumeBound
	known.SetClaim(kept)
	known.SetVolume(pv)
	known.SetVolume(disk("free", "disks", "a"))
	known.SetVolume(disk("static", "", "a"))

	with := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}})
		}
	}
	named := func(node string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node} }
	}
	own := func(n int) []kind.PodClaim {
		return []kind.PodClaim{{Volume: "data", Claim: claim(fmt.Sprint("db-", n), "default")}}
	}
	planned := func(classes ...string) (list []*corev1.PersistentVolumeClaim) {
		for _, c := range classes {
			list = append(list, claim("data", c))
		}
		return list
	}
	type R = simulate.Rollout
	type O = simulate.Outcome
	const elsewhere = "1 node(s) didn't match PersistentVolume's node affinity"
	for name, tc := range map[string]struct {
		nodes   []*corev1.Node
		rollout R
		want    O
		message string
	}{
		"of the default class":                  {rollout: R{Pod: pod("p", with("data")), Claims: planned("default"), Count: 2}, want: O{Placed: 2}},
		"in no plan":                            {rollout: R{Pod: pod("p", with("data")), Count: 1}, message: `persistentvolumeclaim "data" not found`},
		"not where no volumes are kept":         {rollout: R{Pod: pod("p", with("data"), named("plain")), Claims: planned("default"), Count: 1}, message: "1 node(s) didn't find available persistent volumes to bind"},
		"together with the first":               {rollout: R{Pod: pod("p", with("data"), cpu("3")), Claims: planned("default"), Count: 2}, want: O{Placed: 1}, message: "1 Insufficient cpu"},
		"each its own":                          {rollout: R{Pod: pod("p", cpu("3")), Own: own, Count: 2}, want: O{Placed: 2}},
		"one more than nodes that keep any":     {rollout: R{Pod: pod("p", cpu("3")), Own: own, Count: 3}, want: O{Placed: 2}, message: "1 node(s) didn't find available persistent volumes to bind"},
		"one's own where it was":                {rollout: R{Pod: pod("p", named("b")), Own: own, Count: 1}, want: O{Placed: 1}},
		"one's own only where it was":           {rollout: R{Pod: pod("p", named("a")), Own: own, Count: 1}, message: elsewhere},
		"a disk that is free":                   {rollout: R{Pod: pod("p", with("data"), named("a")), Claims: planned("disks"), Count: 1}, want: O{Placed: 1}},
		"no disk there":                         {rollout: R{Pod: pod("p", with("data"), named("b")), Claims: planned("disks"), Count: 1}, message: "1 node(s) didn't find available persistent volumes to bind"},
		"a disk of no class":                    {rollout: R{Pod: pod("p", with("data"), named("a")), Claims: planned(""), Count: 1}, want: O{Placed: 1}},
		"the disk of no class is elsewhere":     {rollout: R{Pod: pod("p", with("data"), named("b")), Claims: planned(""), Count: 1}, message: elsewhere},
		"no class that there is":                {rollout: R{Pod: pod("p", with("data")), Claims: planned("none"), Count: 1}, message: "pod has unbound immediate PersistentVolumeClaims"},
		"made by somebody at once":              {rollout: R{Pod: pod("p", with("data")), Claims: planned("cloud"), Count: 1}, want: O{Placed: 1}},
		"made by somebody for the first pod":    {rollout: R{Pod: pod("p", with("data")), Claims: planned("later"), Count: 1}, want: O{Placed: 1}},
		"no node keeps volumes, and all differ": {nodes: []*corev1.Node{node("x"), node("y")}, rollout: R{Pod: pod("p"), Own: func(int) []kind.PodClaim { return []kind.PodClaim{{Volume: "data", Claim: claim("new", "default")}} }, Count: 1}, message: nowhere},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.nodes == nil {
				tc.nodes = nodes
			}
			// Twice: what one asks changes nothing for the next.
			for range 2 {
				got := simulate.Run(nil, known, nil, tc.nodes, nil, nil, []R{tc.rollout})[0]
				if !strings.Contains(got.Message, tc.message) || tc.message == "" && got.Message != "" {
					t.Errorf("message: %q, want %q", got.Message, tc.message)
				}
				if got.Message = ""; !cmp.Equal(got, tc.want) {
					t.Errorf("Run = %+v, want %+v", got, tc.want)
				}
			}
		})
	}
}
