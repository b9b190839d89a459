package nodes_test

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

func ref(p *corev1.Pod) runtime.PodRef { return pod.Ref(p) }
