// Package scheduler gives pods their nodes.
//
//	store ──pods, nodes──▶ placement.Snapshot ──┐
//	                  └──▶ queue ──ready pods──▶ placement.Pick ──▶ writer: one transaction of many bindings
//	                         ▲                        └─ fits nowhere: placement.Preempt, condition, event
//	                         └── an event that makes it fit, a back-off, five minutes
//
// Scheduler is the loop: one goroutine owns the snapshot and the queue, and
// nothing else touches them. What it decides is written by another one, while it
// goes on with the next pods. package placement is the pure core. A pod that
// fits nowhere waits for an event about a node on which it then fits, or about a
// pod that its affinity or spread is about, and is not tried before.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/component-helpers/resource"

	"headway.dev/engine/event"
	"headway.dev/engine/scheduler/placement"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/scheduler/volumes"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
)

var (
	podKind       = schema.GroupKind{Kind: "Pod"}
	nodeKind      = schema.GroupKind{Kind: "Node"}
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	budgetKind    = schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}
)

// Store is what the scheduler needs of the store.
type Store interface {
	object.Reader
	Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error)
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
}

// Config of New.
type Config struct {
	Store  Store
	Events *event.Recorder
	// Now defaults to time.Now.
	Now func() time.Time
	Log *slog.Logger
	// Configuration says which pods are served, and how they are scheduled.
	profile.Configuration
	// Seed determines which of equally good nodes is chosen.
	Seed uint64
}

// Scheduler binds pods to nodes while Run runs.
type Scheduler struct {
	Config
	snapshot *placement.Snapshot
	queue    *queue
	budgets  *budgets
	seen     map[object.Key]object.Object
	listed   map[schema.GroupKind]uint64
	// pick is placement.Pick.
	pick func(*corev1.Pod, *placement.Snapshot, uint64) (string, *placement.Failure)
}

// New makes a scheduler.
func New(cfg Config) *Scheduler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Scheduler{Config: cfg, pick: placement.Pick}
}

// Run schedules until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	watcher, err := s.load(ctx)
	if err != nil {
		return err
	}
	for {
		s.cycle(ctx)
		events, err := s.wait(ctx, watcher)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end that was asked for
		case errors.Is(err, object.ErrExpired):
			s.Log.Warn("scheduler fell behind the store's events, listing again")
			if watcher, err = s.load(ctx); err != nil {
				return err
			}
		case errors.Is(err, context.DeadlineExceeded):
		case err != nil:
			return fmt.Errorf("scheduler: follow the store: %w", err)
		}
		for _, ev := range events {
			if ev.Revision > s.listed[ev.Key.GroupKind] {
				guard.Do(ctx, "look at the event of "+ev.Key.String(), func() { s.observe(ev) })
			}
		}
	}
}

// wait returns the next events, or nothing when a pod's wait is over.
func (s *Scheduler) wait(ctx context.Context, watcher object.Watcher) ([]object.Event, error) {
	if next := s.queue.next(s.Now()); !next.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(time.Millisecond, next.Sub(s.Now())))
		defer cancel()
	}
	return watcher.Next(ctx)
}

// load starts from what there is.
func (s *Scheduler) load(ctx context.Context) (object.Watcher, error) {
	watcher, err := s.Store.Watch(0, podKind, nodeKind, namespaceKind, budgetKind, claimKind, volumeKind, classKind)
	if err != nil {
		return nil, fmt.Errorf("scheduler: watch the store: %w", err)
	}
	s.snapshot, s.queue, s.budgets = placement.NewSnapshot(), newQueue(s.FirstBackoff, s.LastBackoff), newBudgets()
	s.snapshot.Profiles, s.snapshot.Volumes = s.Profiles, volumes.New()
	s.seen, s.listed = map[object.Key]object.Object{}, map[schema.GroupKind]uint64{}
	for _, kind := range []schema.GroupKind{namespaceKind, classKind, volumeKind, claimKind, nodeKind, budgetKind, podKind} {
		objs, revision := s.Store.List(kind, "")
		s.listed[kind] = revision
		for _, obj := range objs {
			guard.Do(ctx, "look at an object", func() {
				key := object.KeyOf(kind, obj)
				s.observe(object.Event{Type: object.Added, Key: key, Object: obj})
			})
		}
	}
	return watcher, nil
}

// observe brings snapshot and queue up to date.
func (s *Scheduler) observe(ev object.Event) {
	old := s.seen[ev.Key]
	if ev.Type == object.Deleted {
		delete(s.seen, ev.Key)
	} else {
		s.seen[ev.Key] = ev.Object
	}
	switch obj := ev.Object.(type) {
	case *corev1.Namespace:
		s.namespace(ev, obj)
	case *corev1.Node:
		s.node(ev, obj, old)
	case *policyv1.PodDisruptionBudget:
		s.budgets.observe(ev, obj)
	case *corev1.Pod:
		s.pod(ev, obj, old)
	case *corev1.PersistentVolumeClaim, *corev1.PersistentVolume, *storagev1.StorageClass:
		s.storage(ev)
	}
}

func (s *Scheduler) namespace(ev object.Event, ns *corev1.Namespace) {
	if ev.Type == object.Deleted {
		s.snapshot.RemoveNamespace(ns.Name)
		return
	}
	if s.snapshot.SetNamespace(ns.Name, ns.Labels) {
		s.wakeByPods()
	}
}

// wakeByPods wakes the pods that were refused because of other pods.
func (s *Scheduler) wakeByPods() {
	s.queue.wake(func(_ *corev1.Pod, causes placement.Cause) bool { return causes&placement.ByPods != 0 })
}

func (s *Scheduler) node(ev object.Event, node *corev1.Node, old object.Object) {
	if ev.Type == object.Deleted {
		s.snapshot.RemoveNode(node.Name)
		s.wakeByPods() // a spread has a domain less
		return
	}
	before, _ := old.(*corev1.Node)
	s.snapshot.SetNode(node)
	if before == nil || before.Spec.Unschedulable != node.Spec.Unschedulable ||
		!apiequality.Semantic.DeepEqual(before.Spec.Taints, node.Spec.Taints) ||
		!apiequality.Semantic.DeepEqual(before.Labels, node.Labels) ||
		before.Annotations[storage.VolumesAnnotation] != node.Annotations[storage.VolumesAnnotation] ||
		!apiequality.Semantic.DeepEqual(before.Status.Allocatable, node.Status.Allocatable) {
		s.queue.wake(func(p *corev1.Pod, causes placement.Cause) bool {
			return causes&placement.ByPods != 0 || placement.Helps(p, s.snapshot, node.Name)
		})
	}
}

func (s *Scheduler) pod(ev object.Event, pod *corev1.Pod, old object.Object) {
	before, _ := old.(*corev1.Pod)
	if before != nil && before.UID != pod.UID {
		s.gone(before)
		before = nil
	}
	ended := ev.Type == object.Deleted || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case ended:
		s.queue.remove(ev.Key)
		s.gone(pod)
	case pod.Spec.NodeName != "":
		s.queue.remove(ev.Key)
		s.placed(pod, before)
	case !s.serves(pod) || pod.DeletionTimestamp != nil:
		s.queue.remove(ev.Key)
		s.snapshot.Nominate(pod, "")
	default:
		s.waiting(ev.Key, pod, before)
	}
}

// gone forgets a pod, and wakes those for which there is room now.
func (s *Scheduler) gone(pod *corev1.Pod) {
	was := s.snapshot.On(pod.UID)
	s.snapshot.RemovePod(pod.UID)
	if was != "" {
		s.room(pod, was)
	}
}

// room wakes the pods that fit since a pod takes less of a node.
func (s *Scheduler) room(pod *corev1.Pod, node string) {
	s.queue.wake(func(p *corev1.Pod, causes placement.Cause) bool {
		return placement.Fits(p, s.snapshot, node) || causes&placement.ByPods != 0 && placement.Concerns(p, pod, s.snapshot)
	})
}

// placed notes what a pod takes that has a node.
func (s *Scheduler) placed(pod, before *corev1.Pod) {
	was := s.snapshot.On(pod.UID)
	known := before != nil && was == pod.Spec.NodeName
	smaller := known && resized(before, pod)
	leaves := before != nil && before.DeletionTimestamp == nil && pod.DeletionTimestamp != nil
	other := before != nil && !maps.Equal(before.Labels, pod.Labels)
	if known && !smaller && !leaves && !other {
		return
	}
	s.snapshot.SetPod(pod)
	if was != "" && smaller {
		s.room(pod, was)
	}
	if was == "" || leaves || other {
		s.met(pod)
	}
	if other && before != nil {
		s.met(before)
	}
}

// waiting notes a pod that has no node.
func (s *Scheduler) waiting(key object.Key, pod, before *corev1.Pod) {
	kept := ""
	if before != nil {
		kept = before.Status.NominatedNodeName
	}
	if pod.Status.NominatedNodeName != kept {
		s.snapshot.Nominate(pod, pod.Status.NominatedNodeName)
	}
	if it := s.queue.items[key]; it != nil && before != nil && sameRequest(before, pod) {
		it.pod = pod
		return
	}
	s.queue.set(key, pod, s.Now())
}

// serves reports whether the pod is this scheduler's.
func (s *Scheduler) serves(pod *corev1.Pod) bool {
	return s.Profiles.Serves(pod.Spec.SchedulerName)
}

// by is by which name the scheduler acts for a pod.
func by(pod *corev1.Pod) string { return profile.Name(pod.Spec.SchedulerName) }

// sameRequest reports whether nothing changed that matters to scheduling, such
// as when the scheduler's own condition comes back.
func sameRequest(a, b *corev1.Pod) bool {
	return a.Generation == b.Generation && apiequality.Semantic.DeepEqual(a.Spec, b.Spec) && apiequality.Semantic.DeepEqual(a.Labels, b.Labels)
}

// resized reports whether the pod takes other amounts than before: by its spec, by
// what its node has given it, or because the node cannot give it what it asks for.
func resized(a, b *corev1.Pod) bool {
	if a.Generation != b.Generation {
		return true
	}
	if apiequality.Semantic.DeepEqual(a.Status.ContainerStatuses, b.Status.ContainerStatuses) &&
		apiequality.Semantic.DeepEqual(a.Status.InitContainerStatuses, b.Status.InitContainerStatuses) &&
		resource.IsPodResizeInfeasible(a) == resource.IsPodResizeInfeasible(b) {
		return false
	}
	if asAsked(a) && asAsked(b) {
		return false // for the same
	}
	opts := resource.PodResourcesOptions{UseStatusResources: true}
	return !apiequality.Semantic.DeepEqual(resource.PodRequests(a, opts), resource.PodRequests(b, opts))
}

// asAsked reports whether the containers of a pod have what its spec asks for, as far as
// its status tells: then the pod takes just that.
func asAsked(p *corev1.Pod) bool {
	if resource.IsPodResizeInfeasible(p) {
		return false
	}
	has := func(containers []corev1.Container, statuses []corev1.ContainerStatus) bool {
		for i := range statuses {
			s := &statuses[i]
			if i >= len(containers) || containers[i].Name != s.Name || s.Resources != nil && !sameList(s.Resources.Requests, containers[i].Resources.Requests) ||
				s.AllocatedResources != nil && !sameList(s.AllocatedResources, containers[i].Resources.Requests) {
				return false
			}
		}
		return true
	}
	return has(p.Spec.Containers, p.Status.ContainerStatuses) && has(p.Spec.InitContainers, p.Status.InitContainerStatuses)
}

func sameList(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(a, b apiresource.Quantity) bool { return a.Cmp(b) == 0 })
}
