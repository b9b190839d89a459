package progress

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// Store is what progress follows the recovery by.
type Store interface {
	object.Reader
	Watcher
}

// recovers tells, after a restart, what of a revision is not healthy, and when all
// of it is. What the store has of pods is as old as the process before this one:
// nothing is told of them until the agent has looked.
func (p *Progress) recovers(ctx context.Context, revision string, looked <-chan struct{}, look func() wire.Status, store Store) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-looked:
	}
	printed := false
	for {
		watch, err := store.Watch(0)
		if err != nil {
			return err
		}
		for err == nil {
			status := look()
			if rootRevision(status) != revision {
				return nil // a newer one has its own verdict
			}
			why := unhealthy(status, store)
			if why == "" {
				p.Line("%s", p.colour.Green(fmt.Sprintf("%s is healthy (%s)", revision, p.elapsed())))
				return nil
			}
			if !printed {
				p.Line("%s", p.colour.Yellow("not healthy: "+why))
				printed = true
			}
			_, err = watch.Next(ctx)
		}
		if !errors.Is(err, object.ErrExpired) {
			return err
		}
	}
}

// rootRevision is what the Kustomization of the command line has applied.
func rootRevision(status wire.Status) string {
	for _, s := range status.Sources {
		for _, k := range s.Kustomizations {
			if k.Namespace == wire.SystemNamespace && k.Name == wire.RootName {
				return report.ShortRevision(k.Applied)
			}
		}
	}
	return ""
}

// unhealthy says what is not healthy of the command line's source, or nothing.
func unhealthy(status wire.Status, reader object.Reader) string {
	followers := map[types.NamespacedName]bool{}
	for _, s := range status.Sources {
		if s.Namespace != wire.SystemNamespace || s.Name != wire.RootName {
			continue
		}
		for _, k := range s.Kustomizations {
			followers[types.NamespacedName{Namespace: k.Namespace, Name: k.Name}] = true
			if len(k.Unhealthy) > 0 {
				sick := k.Unhealthy[0]
				return fmt.Sprintf("%s: %s", report.ObjectName(sick.Kind, sick.Namespace, sick.Name), sick.Message)
			}
		}
	}
	// The controllers count pods a moment after the pods change.
	ready, all := 0, 0
	pods, _ := reader.List(podKind, "")
	for _, obj := range pods {
		pod := obj.(*corev1.Pod)
		if over := pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed; over || !followers[appliedBy(reader, pod)] {
			continue
		}
		all++
		if podutils.IsPodReady(pod) {
			ready++
		}
	}
	if ready < all {
		return fmt.Sprintf("%d of %d pods are Ready", ready, all)
	}
	return ""
}

// appliedBy is the Kustomization that applied an object, or the one that made it.
func appliedBy(reader object.Reader, obj object.Object) types.NamespacedName {
	for range 8 { // a circle of owners has no end
		if name := obj.GetLabels()[plan.OwnerNameLabel]; name != "" {
			return types.NamespacedName{Namespace: obj.GetLabels()[plan.OwnerNamespaceLabel], Name: name}
		}
		ref := metav1.GetControllerOf(obj)
		if ref == nil {
			break
		}
		group := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind()
		if obj = reader.Get(object.Key{GroupKind: group, Namespace: obj.GetNamespace(), Name: ref.Name}); obj == nil {
			break
		}
	}
	return types.NamespacedName{}
}
