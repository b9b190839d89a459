package authz

import (
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/podspec"
)

// Graph knows what the pods of each node refer to: Secrets, ConfigMaps,
// PersistentVolumeClaims and the ServiceAccount that a pod runs as; and which Secrets
// the Ingresses name that nodes serve. The zero value is empty.
type Graph struct {
	mu sync.RWMutex
	// pods is how often the pods of a node name an object.
	pods map[reference]int
	tls  certificates
}

// reference is an object that a pod on a node names.
type reference struct{ node, resource, namespace, name string }

// The resources that pods refer to.
const (
	configMaps      = "configmaps"
	secrets         = "secrets"
	claims          = "persistentvolumeclaims"
	serviceAccounts = "serviceaccounts"
)

// Observe applies changes; it is for store.Options.Observe.
func (g *Graph) Observe(events []object.Event) {
	if !slices.ContainsFunc(events, func(e object.Event) bool { return e.Key.GroupKind == podKind || ofIngress(e) }) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pods == nil {
		g.pods = map[reference]int{}
	}
	for _, e := range events {
		if ofIngress(e) {
			g.tls.observe(e)
			continue
		}
		if e.Key.GroupKind != podKind {
			continue
		}
		// What stays is counted up before it is counted down.
		if e.Type != object.Deleted {
			g.count(e.Object, 1)
		}
		g.count(e.Old, -1)
	}
}

// count adds n to all that a pod refers to.
func (g *Graph) count(obj object.Object, n int) {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" {
		return
	}
	references(pod, func(resource, name string) {
		r := reference{pod.Spec.NodeName, resource, pod.Namespace, name}
		if g.pods[r] += n; g.pods[r] == 0 {
			delete(g.pods, r)
		}
	})
}

// Refers reports whether a pod on the node refers to the object.
func (g *Graph) Refers(node, resource, namespace, name string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.pods[reference{node, resource, namespace, name}] > 0
}

// references shows what the pod's spec names, some of it more than once.
func references(pod *corev1.Pod, see func(resource, name string)) {
	see(serviceAccounts, pod.Spec.ServiceAccountName)
	for _, s := range pod.Spec.ImagePullSecrets {
		see(secrets, s.Name)
	}
	for i := range pod.Spec.Volumes {
		ofVolume(&pod.Spec.Volumes[i], see)
	}
	podspec.Claims(pod, func(name string) { see(claims, name) })
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			ofEnvironment(containers[i].Env, containers[i].EnvFrom, see)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		ofEnvironment(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom, see)
	}
}

func ofVolume(v *corev1.Volume, see func(resource, name string)) {
	if v.ConfigMap != nil {
		see(configMaps, v.ConfigMap.Name)
	}
	if v.Secret != nil {
		see(secrets, v.Secret.SecretName)
	}
	if v.Projected == nil {
		return
	}
	for _, source := range v.Projected.Sources {
		if source.ConfigMap != nil {
			see(configMaps, source.ConfigMap.Name)
		}
		if source.Secret != nil {
			see(secrets, source.Secret.Name)
		}
	}
}

func ofEnvironment(env []corev1.EnvVar, from []corev1.EnvFromSource, see func(resource, name string)) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			see(configMaps, r.Name)
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			see(secrets, r.Name)
		}
	}
	for _, f := range from {
		if f.ConfigMapRef != nil {
			see(configMaps, f.ConfigMapRef.Name)
		}
		if f.SecretRef != nil {
			see(secrets, f.SecretRef.Name)
		}
	}
}
