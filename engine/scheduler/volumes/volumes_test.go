package volumes_test

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/engine/scheduler/volumes"
	"headway.dev/manifests/model/kinds/storage"
)

type (
	editClaim  = func(*corev1.PersistentVolumeClaim)
	editVolume = func(*corev1.PersistentVolume)
	editNode   = func(*corev1.Node)
)

func node(name string, edit ...editNode) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	for _, e := range edit {
		e(n)
	}
	return n
}

// keeps has a node keep volumes of the local class.
func keeps(n *corev1.Node) {
	n.Annotations = map[string]string{storage.VolumesAnnotation: "/volumes"}
}

func claim(name, class string, edit ...editClaim) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
	}}
	for _, e := range edit {
		e(c)
	}
	return c
}

// bound is to the volume d.
func bound(c *corev1.PersistentVolumeClaim) {
	c.Spec.VolumeName = "d"
	c.Annotations = map[string]string{"pv.kubernetes.io/bind-completed": "yes"}
}

func size(s string) editClaim {
	return func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests["storage"] = resource.MustParse(s) }
}

func selected(node string) editClaim {
	return func(c *corev1.PersistentVolumeClaim) {
		c.Annotations = map[string]string{"volume.kubernetes.io/selected-node": node}
	}
}

func alone(c *corev1.PersistentVolumeClaim) {
	c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
}

func disk(name, class string, edit ...editVolume) *corev1.PersistentVolume {
	pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: class, Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
	}}
	for _, e := range edit {
		e(pv)
	}
	return pv
}

// on is where a volume can be reached from.
func on(node string) editVolume {
	return func(pv *corev1.PersistentVolume) {
		pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}}
	}
}

func holds(s string) editVolume {
	return func(pv *corev1.PersistentVolume) { pv.Spec.Capacity["storage"] = resource.MustParse(s) }
}

func taken(pv *corev1.PersistentVolume) { pv.Status.Phase = corev1.VolumeBound }

func class(name, provisioner string, mode storagev1.VolumeBindingMode, edit ...func(*storagev1.StorageClass)) *storagev1.StorageClass {
	c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: provisioner, VolumeBindingMode: &mode}
	for _, e := range edit {
		e(c)
	}
	return c
}

// onlyInA has volumes of a class made in one zone.
func onlyInA(c *storagev1.StorageClass) {
	c.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: []string{"a"}}}}}
}

// state has the objects, and the classes that all cases know.
func state(objs ...any) *volumes.State {
	s := volumes.New()
	for _, c := range []*storagev1.StorageClass{
		storage.Local(), class("disks", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer),
		class("cloud", "example.com/cloud", storagev1.VolumeBindingImmediate), class("later", "example.com/cloud", storagev1.VolumeBindingWaitForFirstConsumer),
		class("zonal", "example.com/cloud", storagev1.VolumeBindingWaitForFirstConsumer, onlyInA),
	} {
		s.SetClass(c)
	}
	for _, o := range objs {
		switch o := o.(type) {
		case *corev1.PersistentVolumeClaim:
			s.SetClaim(o)
		case *corev1.PersistentVolume:
			s.SetVolume(o)
		case string:
			s.Count("shop", []string{o}, 1)
		}
	}
	return s
}

// pod has claims by their names, and one of its own for each name that begins with "own-".
func pod(names ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "p"}}
	for _, name := range names {
		v := corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}
		if own, ok := own(name); ok {
			v = corev1.Volume{Name: own, VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{}}}}
		}
		p.Spec.Volumes = append(p.Spec.Volumes, v)
	}
	return p
}

func own(name string) (string, bool) {
	const prefix = "own-"
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):], true
	}
	return "", false
}

func ofPod(uid string) editClaim {
	return func(c *corev1.PersistentVolumeClaim) {
		c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: types.UID(uid), Controller: new(true)}}
	}
}

// What a pod's claims need is told of all nodes or of each, the gravest first, and what
// has to be written before it is bound there.
func TestNeeds(t *testing.T) {
	lost := func(c *corev1.PersistentVolumeClaim) {
		c.Spec.VolumeName, c.Status.Phase = "gone", corev1.ClaimLost
	}
	deleted := func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = new(metav1.Now()) }
	zone := func(of string) editNode { return func(n *corev1.Node) { n.Labels["zone"] = of } }
	for name, tc := range map[string]struct {
		state   []any // claims, volumes, and the names of claims that a pod on a node has
		pod     *corev1.Pod
		node    *corev1.Node
		whole   string
		refusal volumes.Refusal
		plan    []string // CLAIM=VOLUME, or CLAIM to be provided
	}{
		"no claims":               {pod: pod(), node: node("n")},
		"bound":                   {state: []any{claim("data", "disks", bound), disk("d", "disks", taken)}, pod: pod("data"), node: node("n")},
		"bound, here":             {state: []any{claim("data", "disks", bound), disk("d", "disks", taken, on("n"))}, pod: pod("data"), node: node("n")},
		"bound, elsewhere":        {state: []any{claim("data", "disks", bound), disk("d", "disks", taken, on("m"))}, pod: pod("data"), node: node("n"), refusal: volumes.Elsewhere},
		"bound to what is gone":   {state: []any{claim("data", "disks", bound)}, pod: pod("data"), node: node("n"), refusal: volumes.Gone},
		"not there":               {pod: pod("data"), node: node("n"), whole: `persistentvolumeclaim "data" not found`, refusal: volumes.Whole},
		"of another namespace":    {state: []any{claim("data", "disks", func(c *corev1.PersistentVolumeClaim) { c.Namespace = "other" })}, pod: pod("data"), node: node("n"), whole: `persistentvolumeclaim "data" not found`, refusal: volumes.Whole},
		"lost":                    {state: []any{claim("data", "disks", lost)}, pod: pod("data"), node: node("n"), whole: `persistentvolumeclaim "data" bound to non-existent persistentvolume "gone"`, refusal: volumes.Whole},
		"deleted":                 {state: []any{claim("data", "disks", bound, deleted), disk("d", "disks", taken)}, pod: pod("data"), node: node("n"), whole: `persistentvolumeclaim "data" is being deleted`, refusal: volumes.Whole},
		"the first of two faults": {state: []any{claim("b", "disks", deleted)}, pod: pod("b", "a"), node: node("n"), whole: `persistentvolumeclaim "a" not found`, refusal: volumes.Whole},
		"to be bound at once":     {state: []any{claim("data", "cloud")}, pod: pod("data"), node: node("n"), whole: "pod has unbound immediate PersistentVolumeClaims", refusal: volumes.Whole},
		"of a class that is not":  {state: []any{claim("data", "none")}, pod: pod("data"), node: node("n"), whole: "pod has unbound immediate PersistentVolumeClaims", refusal: volumes.Whole},
		"half bound": {
			state: []any{claim("data", "disks", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "d" }), disk("d", "disks")}, pod: pod("data"), node: node("n"),
			whole: "pod has unbound immediate PersistentVolumeClaims", refusal: volumes.Whole,
		},

		"one pod at a time":             {state: []any{claim("data", "disks", bound, alone), disk("d", "disks", taken)}, pod: pod("data"), node: node("n")},
		"another pod has it":            {state: []any{claim("data", "disks", bound, alone), disk("d", "disks", taken), "data"}, pod: pod("data"), node: node("n"), refusal: volumes.InUse},
		"another pod has it, too":       {state: []any{claim("data", "disks", bound), disk("d", "disks", taken), "data"}, pod: pod("data"), node: node("n")},
		"in use before it is elsewhere": {state: []any{claim("data", "disks", bound, alone), disk("d", "disks", taken, on("m")), "data"}, pod: pod("data"), node: node("n"), refusal: volumes.InUse},

		"a volume that is free":     {state: []any{claim("data", "disks"), disk("d", "disks")}, pod: pod("data"), node: node("n"), plan: []string{"data=d"}},
		"a free volume elsewhere":   {state: []any{claim("data", "disks"), disk("d", "disks", on("m"))}, pod: pod("data"), node: node("n"), refusal: volumes.NotFound},
		"a volume that is taken":    {state: []any{claim("data", "disks"), disk("d", "disks", taken)}, pod: pod("data"), node: node("n"), refusal: volumes.NotFound},
		"a volume of another class": {state: []any{claim("data", "disks"), disk("d", "other")}, pod: pod("data"), node: node("n"), refusal: volumes.NotFound},
		"too small":                 {state: []any{claim("data", "disks", size("2Gi")), disk("d", "disks")}, pod: pod("data"), node: node("n"), refusal: volumes.NotFound},
		"the smallest that will do": {state: []any{claim("data", "disks"), disk("large", "disks", holds("5Gi")), disk("small", "disks", holds("2Gi"))}, pod: pod("data"), node: node("n"), plan: []string{"data=small"}},
		"each its own":              {state: []any{claim("a", "disks", size("3Gi")), claim("b", "disks"), disk("x", "disks", holds("4Gi")), disk("y", "disks", holds("2Gi"))}, pod: pod("a", "b"), node: node("n"), plan: []string{"b=y", "a=x"}},
		"one too few":               {state: []any{claim("a", "disks"), claim("b", "disks"), disk("x", "disks")}, pod: pod("a", "b"), node: node("n"), refusal: volumes.NotFound},

		"made here":                {state: []any{claim("data", storage.LocalClass)}, pod: pod("data"), node: node("n", keeps), plan: []string{"data"}},
		"made where volumes are":   {state: []any{claim("data", storage.LocalClass)}, pod: pod("data"), node: node("n"), refusal: volumes.NotFound},
		"made by somebody":         {state: []any{claim("data", "later")}, pod: pod("data"), node: node("n"), plan: []string{"data"}},
		"made in a zone":           {state: []any{claim("data", "zonal")}, pod: pod("data"), node: node("n", zone("a")), plan: []string{"data"}},
		"made in another zone":     {state: []any{claim("data", "zonal")}, pod: pod("data"), node: node("n", zone("b")), refusal: volumes.NotFound},
		"free before made":         {state: []any{claim("data", "later"), disk("d", "later")}, pod: pod("data"), node: node("n"), plan: []string{"data=d"}},
		"being made here":          {state: []any{claim("data", "later", selected("n")), disk("d", "later")}, pod: pod("data"), node: node("n"), plan: []string{"data"}},
		"being made elsewhere":     {state: []any{claim("data", "later", selected("m"))}, pod: pod("data"), node: node("n"), refusal: volumes.NotFound},
		"one is bound, one is not": {state: []any{claim("a", "disks", bound), disk("d", "disks", taken, on("n")), claim("b", "later")}, pod: pod("a", "b"), node: node("n"), plan: []string{"b"}},

		"its own, not there":  {pod: pod("own-data"), node: node("n"), whole: `waiting for ephemeral volume controller to create the persistentvolumeclaim "p-data"`, refusal: volumes.Whole},
		"its own":             {state: []any{claim("p-data", "later", ofPod("p"))}, pod: pod("own-data"), node: node("n"), plan: []string{"p-data"}},
		"its own, of another": {state: []any{claim("p-data", "later", ofPod("x"))}, pod: pod("own-data"), node: node("n"), whole: "PVC shop/p-data was not created for pod shop/p (pod is not owner)", refusal: volumes.Whole},
	} {
		t.Run(name, func(t *testing.T) {
			s := state(tc.state...)
			needs := s.NeedsOf(tc.pod, volumes.ClaimsOf(tc.pod))
			if needs == nil {
				if len(tc.pod.Spec.Volumes) > 0 {
					t.Fatal("a pod with claims needs nothing")
				}
				return
			}
			if needs.Whole != tc.whole {
				t.Errorf("of all nodes: %q, want %q", needs.Whole, tc.whole)
			}
			if got := needs.Check(tc.node); got != tc.refusal {
				t.Errorf("refusal %d, want %d", got, tc.refusal)
			}
			if tc.refusal != volumes.None {
				return
			}
			plan, ok := needs.Bind(tc.node)
			if got := texts(plan); !ok || !slices.Equal(got, tc.plan) || plan.Empty() != (len(tc.plan) == 0) {
				t.Errorf("plan %q (%v), want %q", got, ok, tc.plan)
			}
		})
	}
	if needs := (*volumes.State)(nil).NeedsOf(pod("data"), []string{"data"}); needs != nil {
		t.Errorf("who knows of no volumes knows of needs: %+v", needs)
	}
}

func texts(plan volumes.Plan) (list []string) {
	for _, b := range plan.Bind {
		list = append(list, fmt.Sprintf("%s=%s", b.Claim.Name, b.Volume.Name))
	}
	for _, c := range plan.Provision {
		list = append(list, c.Name)
	}
	return list
}

// Names of claims are told once each, whoever makes the claim.
func TestClaimsOf(t *testing.T) {
	p := pod("b", "a", "own-x", "b")
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "none", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	if got, want := volumes.ClaimsOf(p), []string{"a", "b", "p-x"}; !slices.Equal(got, want) {
		t.Errorf("claims %q, want %q", got, want)
	}
	for name, want := range map[string]bool{"a": true, "p-x": true, "x": false, "none": false} {
		if got := volumes.Names(p, name); got != want {
			t.Errorf("the pod has the claim %s: %v, want %v", name, got, want)
		}
	}
}

// What is true of the cluster is what was said of it last.
func TestChanges(t *testing.T) {
	check := func(s *volumes.State, want volumes.Refusal, what string) {
		t.Helper()
		if got := s.NeedsOf(pod("data"), []string{"data"}).Check(node("n")); got != want {
			t.Errorf("%s: refusal %d, want %d", what, got, want)
		}
	}
	s := state(claim("data", "disks"), disk("d", "disks"))
	check(s, volumes.None, "a volume is free")
	s.SetVolume(disk("d", "disks", taken))
	check(s, volumes.NotFound, "it is taken")
	s.SetVolume(disk("d", "other"))
	check(s, volumes.NotFound, "it has another class")
	s.SetVolume(disk("d", "disks"))
	check(s, volumes.None, "it is free again")
	s.RemoveVolume("d")
	s.RemoveVolume("d")
	check(s, volumes.NotFound, "it is gone")
	s.SetVolume(disk("d", "disks"))
	s.RemoveClass("disks")
	check(s, volumes.Whole, "its class is gone")
	s.SetClass(class("disks", "kubernetes.io/no-provisioner", storagev1.VolumeBindingWaitForFirstConsumer))
	s.RemoveClaim(claim("data", "disks"))
	check(s, volumes.Whole, "its claim is gone")

	s = state(claim("data", "disks", bound, alone), disk("d", "disks", taken))
	s.Count("shop", []string{"data"}, 2)
	s.Count("shop", []string{"data"}, -1)
	check(s, volumes.InUse, "one of two pods has left")
	s.Count("other", []string{"data"}, 1)
	s.Count("shop", []string{"data"}, -1)
	check(s, volumes.None, "both have left")
	(*volumes.State)(nil).Count("shop", []string{"data"}, 1)
}

// What a plan brings is expected as it will be, and what is assumed has happened; neither
// touches what a copy was made of.
func TestExpect(t *testing.T) {
	standard := func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }
	for name, tc := range map[string]struct {
		state   []any
		claim   *corev1.PersistentVolumeClaim
		node    *corev1.Node
		refusal volumes.Refusal
		plan    []string
	}{
		"of the default class":            {nil, claim("data", "", standard), node("n", keeps), volumes.None, []string{"data"}},
		"of the default class, elsewhere": {nil, claim("data", "", standard), node("n"), volumes.NotFound, nil},
		"made at once by somebody":        {nil, claim("data", "cloud"), node("n"), volumes.None, nil},
		"bound at once to what is there":  {[]any{disk("d", "cloud", on("m"))}, claim("data", "cloud"), node("n"), volumes.Elsewhere, nil},
		"bound at once, here":             {[]any{disk("d", "cloud", on("n"))}, claim("data", "cloud"), node("n"), volumes.None, nil},
		"of no class that there is":       {nil, claim("data", "none"), node("n"), volumes.Whole, nil},
		"of no class":                     {[]any{disk("d", "")}, claim("data", ""), node("n"), volumes.None, nil},
		"for the first pod":               {[]any{disk("d", "disks")}, claim("data", "disks"), node("n"), volumes.None, []string{"data=d"}},
		"one that is there":               {[]any{claim("data", "disks", bound), disk("d", "disks", taken, on("m"))}, claim("data", "later"), node("n"), volumes.Elsewhere, nil},
	} {
		t.Run(name, func(t *testing.T) {
			first := state(tc.state...)
			s := first.Clone()
			s.Expect(tc.claim)
			needs := s.NeedsOf(pod("data"), []string{"data"})
			if got := needs.Check(tc.node); got != tc.refusal {
				t.Fatalf("refusal %d (%s), want %d", got, needs.Whole, tc.refusal)
			}
			if tc.refusal != volumes.None {
				return
			}
			plan, _ := needs.Bind(tc.node)
			if got := texts(plan); !slices.Equal(got, tc.plan) {
				t.Errorf("plan %q, want %q", got, tc.plan)
			}
			s.Assume(plan, tc.node.Name)
			again, ok := s.NeedsOf(pod("data"), []string{"data"}).Bind(tc.node)
			if len(again.Bind) > 0 || !ok {
				t.Errorf("what is bound is to be bound again: %q, %v", texts(again), ok)
			}
			if other := node("other", keeps); len(plan.Provision) > 0 {
				if got := s.NeedsOf(pod("data"), []string{"data"}).Check(other); got != volumes.NotFound {
					t.Errorf("what is made on %s: refusal %d on another node, want %d", tc.node.Name, got, volumes.NotFound)
				}
			}
			if len(tc.state) == 0 && first.NeedsOf(pod("data"), []string{"data"}).Whole != `persistentvolumeclaim "data" not found` {
				t.Error("what it was copied from has the claim, too")
			}
		})
	}
	if c := (*volumes.State)(nil).Clone(); c != nil {
		t.Error("a copy of nothing is something")
	}
	(*volumes.State)(nil).Expect(claim("data", "later"))
}
