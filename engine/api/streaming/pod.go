package streaming

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"headway.dev/manifests/model/object"
)

func findPod(ctx context.Context, reader object.Reader, name string) (*corev1.Pod, error) {
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: genericapirequest.NamespaceValue(ctx), Name: name}
	pod, ok := reader.Get(key).(*corev1.Pod)
	if !ok || pod == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
	}
	return pod, nil
}

// chooseContainer settles which container of the pod is meant: the named one,
// or the only one.
func chooseContainer(pod *corev1.Pod, name string) (string, error) {
	containers, inits, ephemerals := containerNames(pod)
	if name == "" {
		switch len(containers) {
		case 0:
			return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
		case 1:
			return containers[0], nil
		}
		msg := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(containers, " "))
		if len(inits) > 0 {
			msg += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(inits, " "))
		}
		if len(ephemerals) > 0 {
			msg += fmt.Sprintf(" or one of the ephemeral containers: [%s]", strings.Join(ephemerals, " "))
		}
		return "", apierrors.NewBadRequest(msg)
	}
	if slices.Contains(slices.Concat(containers, inits, ephemerals), name) {
		return name, nil
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, pod.Name))
}

func containerNames(pod *corev1.Pod) (containers, inits, ephemerals []string) {
	for _, c := range pod.Spec.Containers {
		containers = append(containers, c.Name)
	}
	for _, c := range pod.Spec.InitContainers {
		inits = append(inits, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		ephemerals = append(ephemerals, c.Name)
	}
	return containers, inits, ephemerals
}
