package plan

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/yaml/diff"
)

// first and last are the kinds that are applied before and after all others,
// in this order, as kustomize and Flux sort them: what others are made in or
// refer to comes first, what intercepts their creation last.
var (
	first = []string{
		"Namespace", "ResourceQuota", "StorageClass", "CustomResourceDefinition", "MutatingAdmissionPolicy",
		"ServiceAccount", "PodSecurityPolicy", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding",
		"ConfigMap", "Secret", "Endpoints", "Service", "LimitRange", "PriorityClass",
		"PersistentVolume", "PersistentVolumeClaim",
		"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Job", "CronJob", "PodDisruptionBudget",
	}
	last = []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}

	ranks = func() map[string]int {
		m := map[string]int{}
		for i, k := range first {
			m[k] = i - len(first)
		}
		for i, k := range last {
			m[k] = i + 1
		}
		return m
	}()
)

func rank(gk schema.GroupKind) int { return ranks[gk.Kind] }

func isWorkload(gk schema.GroupKind) bool {
	switch gk.String() {
	case "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps":
		return true
	}
	return false
}

// restarts reports whether the change of a workload replaces its pods.
func restarts(gk schema.GroupKind, fields []diff.Field) bool {
	if !isWorkload(gk) {
		return false
	}
	for _, f := range fields {
		if strings.HasPrefix(f.Path, "spec.template.") || f.Path == "spec.template" {
			return true
		}
	}
	return false
}
