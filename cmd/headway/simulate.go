package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/scheduler/placement"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
)

// simulate asks the scheduler's core about the pods of a plan, as things stand
// in the store.
func simulate(stored object.Reader) func([]syncer.Rollout) []syncer.Placement {
	return func(list []syncer.Rollout) []syncer.Placement {
		rollouts := make([]placement.Rollout, len(list))
		for i, r := range list {
			rollouts[i] = placement.Rollout(r)
		}
		placed := make([]syncer.Placement, len(list))
		for i, o := range placement.Simulate(all[*corev1.Node](stored, "Node"), all[*corev1.Pod](stored, "Pod"), rollouts) {
			placed[i] = syncer.Placement(o)
		}
		return placed
	}
}

// all are the stored objects of a core kind.
func all[T object.Object](stored object.Reader, kind string) []T {
	objs, _ := stored.List(schema.GroupKind{Kind: kind}, "")
	list := make([]T, 0, len(objs))
	for _, o := range objs {
		if one, ok := o.(T); ok {
			list = append(list, one)
		}
	}
	return list
}
