package admit

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// What every namespace has.
const (
	// DefaultAccount is the ServiceAccount of pods that name none.
	DefaultAccount = "default"
	// RootCAName is the ConfigMap with the certificate authority of the API.
	RootCAName = "kube-root-ca.crt"
	// RootCAKey is the key of the certificates in that ConfigMap.
	RootCAKey = "ca.crt"
)

// DescriptionAnnotation describes the purpose of the ConfigMap, and
// RootCADescription is Kubernetes' text for it.
const (
	DescriptionAnnotation = "kubernetes.io/description"
	RootCADescription     = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints " +
		"such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)

// RootCAData is the data of the ConfigMap, for certificates in PEM.
func RootCAData(pem []byte) map[string]string { return map[string]string{RootCAKey: string(pem)} }

// NewDefaultAccount creates the account of a namespace if it does not exist.
func NewDefaultAccount(namespace string, now time.Time) change.Change {
	return change.Absent(change.Create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: DefaultAccount}}, now))
}

// NewRootCA creates the ConfigMap of a namespace if it does not exist.
func NewRootCA(namespace string, pem []byte, now time.Time) change.Change {
	return change.Absent(change.Create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: RootCAName,
			Annotations: map[string]string{DescriptionAnnotation: RootCADescription},
		},
		Data: RootCAData(pem),
	}, now))
}

// Along is for store.Options.Along: a namespace is written with what every
// namespace has, so that its first pods need not wait for that.
// Quotas say what is used with each change.
func (a *Admission) Along(view object.Reader, ev object.Event) []change.Change {
	ns, ok := ev.Object.(*corev1.Namespace)
	if !ok {
		return a.charges(view, ev)
	}
	if ev.Type != object.Added || !Alive(ns) {
		return nil
	}
	changes := []change.Change{NewDefaultAccount(ns.Name, ns.CreationTimestamp.Time)}
	if len(a.rootCA) > 0 {
		changes = append(changes, NewRootCA(ns.Name, a.rootCA, ns.CreationTimestamp.Time))
	}
	return changes
}

// Alive reports whether objects can be created in a namespace.
func Alive(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}
