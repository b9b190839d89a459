package engine

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

// checkRanges refuses other ranges of addresses than those that nodes, their pods and
// Services have: pods keep addresses of the old ones, and nobody routes to them.
func checkRanges(stored object.Reader, want nodeconfig.Config) error {
	told, ok := stored.Get(object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: metav1.NamespaceSystem, Name: nodeconfig.Name}).(*corev1.ConfigMap)
	if !ok || told == nil {
		return nil // nobody was told any
	}
	had, err := nodeconfig.Parse(told.Data)
	if err != nil {
		return nil //nolint:nilerr // somebody has edited it; it is written anew
	}
	nodes, _ := stored.List(schema.GroupKind{Kind: "Node"}, "")
	if len(nodes) == 0 {
		return nil
	}
	for _, r := range []struct{ flag, had, want string }{
		{"--cluster-cidr", nodeconfig.Format(had.Pods()), nodeconfig.Format(want.Pods())},
		{"--service-cidr", nodeconfig.Format(had.Services()), nodeconfig.Format(want.Services())},
	} {
		if r.had != r.want {
			return fmt.Errorf("%s %s: the cluster has %s, and %d nodes with it: start with %s %s, or remove the nodes first (on each `headway cleanup`, then `kubectl delete node`)", r.flag, r.want, r.had, len(nodes), r.flag, r.had)
		}
	}
	return nil
}
