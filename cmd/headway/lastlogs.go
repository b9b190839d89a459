package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// logs reads the end of a container's log, from whichever node it is on.
func (c *cluster) logs(ctx context.Context, pod *corev1.Pod, container string, previous bool, lines int64) (string, error) {
	client, err := newClient(c.engine.Client("system:headway", "system:masters"))
	if err != nil {
		return "", err
	}
	limit := int64(64 << 10) // lines may be long
	text, err := client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: container, Previous: previous, TailLines: &lines, LimitBytes: &limit,
	}).DoRaw(ctx)
	return string(text), err
}
