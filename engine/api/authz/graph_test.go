package authz_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"headway.dev/engine/api/authz"
	"headway.dev/engine/rbac"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var podKind = schema.GroupKind{Kind: "Pod"}

func put(pod *corev1.Pod) change.Change {
	key := object.Key{GroupKind: podKind, Namespace: pod.Namespace, Name: pod.Name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return pod, nil }}
}

func remove(namespace, name string) change.Change {
	key := object.Key{GroupKind: podKind, Namespace: namespace, Name: name}
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return nil, nil }}
}

// open is an authorizer on a store with pods that graph observes.
func open(tb testing.TB, path string) (*store.Store, authorizer.Authorizer) {
	tb.Helper()
	graph := &authz.Graph{}
	s, err := store.Open(store.Options{Path: path, Observe: graph.Observe})
	if err != nil {
		tb.Fatal(err)
	}
	a, err := authz.New(authz.Config{Reader: s, Graph: graph, Roles: &rbac.Index{}})
	if err != nil {
		tb.Fatal(err)
	}
	return s, a
}

// may reports whether a node may do something with an object.
func may(tb testing.TB, a authorizer.Authorizer, node, verb, resource, namespace, name string) bool {
	tb.Helper()
	attributes := authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: "system:node:" + node, Groups: []string{user.NodesGroup}},
		Verb: verb, APIVersion: "v1", Resource: resource, Namespace: namespace, Name: name, ResourceRequest: true,
	}
	if resource == "serviceaccounts" {
		attributes.Subresource = "token"
	}
	decision, _, err := a.Authorize(tb.Context(), attributes)
	if err != nil {
		tb.Fatal(err)
	}
	return decision == authorizer.DecisionAllow
}

// scan answers as the graph does, by a look at all pods.
func scan(s *store.Store, node, resource, namespace, name string) bool {
	pods, _ := s.List(podKind, namespace)
	return slices.ContainsFunc(pods, func(obj object.Object) bool {
		pod := obj.(*corev1.Pod)
		return pod.Spec.NodeName == node && refers(pod, resource, name)
	})
}

func refers(pod *corev1.Pod, resource, name string) bool {
	switch resource {
	case "serviceaccounts":
		return pod.Spec.ServiceAccountName == name
	case "persistentvolumeclaims":
		return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name
		})
	}
	maps := resource == "configmaps"
	if !maps && slices.ContainsFunc(pod.Spec.ImagePullSecrets, func(r corev1.LocalObjectReference) bool { return r.Name == name }) {
		return true
	}
	for _, v := range pod.Spec.Volumes {
		switch {
		case maps && v.ConfigMap != nil && v.ConfigMap.Name == name, !maps && v.Secret != nil && v.Secret.SecretName == name:
			return true
		case v.Projected != nil:
			for _, p := range v.Projected.Sources {
				if maps && p.ConfigMap != nil && p.ConfigMap.Name == name || !maps && p.Secret != nil && p.Secret.Name == name {
					return true
				}
			}
		}
	}
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	for _, e := range pod.Spec.EphemeralContainers {
		containers = append(containers, corev1.Container(e.EphemeralContainerCommon))
	}
	for _, c := range containers {
		for _, f := range c.EnvFrom {
			if maps && f.ConfigMapRef != nil && f.ConfigMapRef.Name == name || !maps && f.SecretRef != nil && f.SecretRef.Name == name {
				return true
			}
		}
		for _, e := range c.Env {
			if f := e.ValueFrom; f != nil && (maps && f.ConfigMapKeyRef != nil && f.ConfigMapKeyRef.Name == name || !maps && f.SecretKeyRef != nil && f.SecretKeyRef.Name == name) {
				return true
			}
		}
	}
	return false
}

func pick(r *rand.Rand, values ...string) string { return values[r.IntN(len(values))] }

var names = []string{"x", "y", "z"}

// randomPod refers to something by one of the ways that there are, or two.
func randomPod(r *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, "a", "b"), Name: pick(r, "p", "q", "r", "s")},
		Spec:       corev1.PodSpec{NodeName: pick(r, "", "n1", "n2"), ServiceAccountName: pick(r, "", "x", "y")},
	}
	local := func() corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: pick(r, names...)} }
	volume := func(source corev1.VolumeSource) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: "v", VolumeSource: source})
	}
	projected := func(p corev1.VolumeProjection) {
		volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}})
	}
	container := func(c corev1.Container) {
		switch r.IntN(3) {
		case 0:
			pod.Spec.Containers = append(pod.Spec.Containers, c)
		case 1:
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		default:
			pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{EphemeralContainerCommon: corev1.EphemeralContainerCommon(c)})
		}
	}
	env := func(source corev1.EnvVarSource) {
		container(corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B", ValueFrom: &source}}})
	}
	for range 1 + r.IntN(2) {
		switch r.IntN(10) {
		case 0:
			pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, local())
		case 1:
			volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local()}})
		case 2:
			volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: pick(r, names...)}})
		case 3:
			volume(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: pick(r, names...)}})
		case 4:
			projected(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local()}})
		case 5:
			projected(corev1.VolumeProjection{Secret: &corev1.SecretProjection{LocalObjectReference: local()}})
		case 6:
			container(corev1.Container{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local()}}}})
		case 7:
			container(corev1.Container{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local()}}}})
		case 8:
			env(corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local(), Key: "k"}})
		case 9:
			env(corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(), Key: "k"}})
		}
	}
	return pod
}

// Whatever becomes of pods, in whatever transactions, also of those that fail,
// and however often the store is opened again: a node may read what a scan of
// all pods finds that its own refer to, and nothing else.
func TestNodesReadWhatAScanFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7))
	path := filepath.Join(t.TempDir(), "db")
	allowed, refused := 0, 0
	compare := func(s *store.Store, a authorizer.Authorizer) {
		t.Helper()
		for _, resource := range []string{"secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"} {
			verb := "get"
			if resource == "serviceaccounts" {
				verb = "create"
			}
			for _, node := range []string{"n1", "n2", "n3"} {
				for _, namespace := range []string{"a", "b"} {
					for _, name := range names {
						got, want := may(t, a, node, verb, resource, namespace, name), scan(s, node, resource, namespace, name)
						if got != want {
							t.Errorf("%s may %s %s %s/%s: %v, want %v", node, verb, resource, namespace, name, got, want)
						}
						if want {
							allowed++
						} else {
							refused++
						}
					}
				}
			}
		}
	}
	for range 3 {
		s, a := open(t, path)
		for range 150 {
			var tx change.Tx
			for range 1 + r.IntN(3) {
				if r.IntN(3) == 0 {
					tx.Changes = append(tx.Changes, remove(pick(r, "a", "b"), pick(r, "p", "q", "r", "s")))
				} else {
					tx.Changes = append(tx.Changes, put(randomPod(r)))
				}
			}
			failed := fmt.Errorf("a random failure")
			if r.IntN(4) == 0 {
				last := put(randomPod(r))
				last.Mutate = func(object.Object) (object.Object, error) { return nil, failed }
				tx.Changes = append(tx.Changes, last)
			} else {
				failed = nil
			}
			if _, err := s.Commit(t.Context(), tx); (err != nil) != (failed != nil) {
				t.Fatalf("Commit: %v, want %v", err, failed)
			}
			compare(s, a)
			if t.Failed() {
				break
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if allowed < 1000 || refused < 1000 {
		t.Errorf("the test is empty: %d allowed, %d refused", allowed, refused)
	}
}

// An agent asks for a Secret and a token, among 10,000 pods of a namespace on
// 100 nodes.
func BenchmarkNodeAmong10000Pods(b *testing.B) {
	s, a := open(b, filepath.Join(b.TempDir(), "db"))
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	for i := 0; i < 10_000; i += 1000 {
		tx := change.Tx{Durability: change.Behind}
		for j := i; j < i+1000; j++ {
			tx.Changes = append(tx.Changes, put(&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprintf("pod-%05d", j)},
				Spec: corev1.PodSpec{
					NodeName: fmt.Sprint("n", j%100), ServiceAccountName: fmt.Sprint("account-", j%100),
					Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: fmt.Sprint("secret-", j)}}}},
				},
			}))
		}
		if _, err := s.Commit(b.Context(), tx); err != nil {
			b.Fatal(err)
		}
	}
	for _, test := range []struct{ verb, resource, name string }{{"get", "secrets", "secret-9942"}, {"create", "serviceaccounts", "account-42"}} {
		b.Run(test.resource, func(b *testing.B) {
			for b.Loop() {
				if !may(b, a, "n42", test.verb, test.resource, "a", test.name) {
					b.Fatal("refused")
				}
			}
		})
	}
}
