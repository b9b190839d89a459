package nodes

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/pod"
	"headway.dev/nodes/runtime"
)

// watchPods follows the pods bound to this node until ctx ends.
func (a *Agent) watchPods(ctx context.Context) error {
	selector := fields.OneTermEqualSelector("spec.nodeName", a.cfg.NodeName).String()
	objects.Follow(ctx, a.cfg.Client, a.cfg.Client.CoreV1().Pods(metav1.NamespaceAll), selector, &corev1.Pod{}, &podStore{agent: a}, "node-pods")
	return nil
}

// podStore hands what the reflector sees to the workers; they hold the pods.
type podStore struct {
	agent *Agent
	once  sync.Once
}

func (s *podStore) Add(obj any) error    { s.each(obj, s.agent.changed); return nil }
func (s *podStore) Update(obj any) error { s.each(obj, s.agent.changed); return nil }
func (s *podStore) Delete(obj any) error { s.each(obj, s.agent.removed); return nil }
func (s *podStore) Resync() error        { return nil }

// changed hands over a pod or its change.
func (a *Agent) changed(p *corev1.Pod) {
	if a.names != nil {
		a.names.SetPod(p)
	}
	a.workers.Changed(p)
}

func (a *Agent) removed(p *corev1.Pod) {
	if a.names != nil {
		a.names.RemovePod(p.UID)
	}
	a.workers.Removed(p)
}

// each hands over one pod. One that is too much for the agent must not keep it
// from the others: the list would begin with the same one again.
func (s *podStore) each(obj any, take func(*corev1.Pod)) {
	p := obj.(*corev1.Pod)
	guard.Do(s.agent.ctx, "take up pod "+pod.Describe(p), func() { take(p) })
}

// Replace receives a full list: pods that are not in it are gone. Only after
// the first list is it known which of the machine's pods the API does not have.
func (s *podStore) Replace(list []any, _ string) error {
	have := map[types.UID]bool{}
	for _, obj := range list {
		p := obj.(*corev1.Pod)
		have[p.UID] = true
		s.each(obj, func(p *corev1.Pod) {
			s.agent.statuses.Listed(p)
			s.agent.changed(p)
		})
	}
	if s.agent.names != nil {
		s.agent.names.KeepPods(have)
	}
	s.agent.workers.Retain(have)
	s.once.Do(func() {
		s.agent.statuses.Look.Begin(have)
		s.agent.adoptUnknown(have)
	})
	return nil
}

// adoptUnknown gives every pod the machine holds and the API does not have to a
// worker that takes it down, and removes volumes and logs without a pod: what
// an end of the agent in the midst of a removal leaves.
func (a *Agent) adoptUnknown(known map[types.UID]bool) {
	pods, err := a.cfg.Runtime.List(a.ctx)
	if err != nil {
		a.log.Warn("cannot list the machine's pods; those the API does not know stay until the next start", "err", err)
		return
	}
	for uid, p := range pods {
		if known[types.UID(uid)] {
			continue
		}
		a.log.Info("removing a pod that the API does not know", "uid", uid)
		orphan := unknownPod(types.UID(uid), p)
		a.workers.Changed(orphan)
		a.workers.Removed(orphan)
	}
	unused := func(uid types.UID) bool {
		_, held := pods[string(uid)]
		return !held && !known[uid]
	}
	uids, err := a.volumes.Pods()
	if err != nil {
		a.log.Warn("cannot list the volumes on disk", "err", err)
	}
	for _, uid := range uids {
		if unused(uid) {
			if err := a.volumes.Teardown(uid); err != nil {
				a.log.Warn("volumes of a pod that is gone stay until the next start", "uid", uid, "err", err)
			}
		}
	}
	logged, err := a.cfg.Runtime.LoggedPods()
	if err != nil {
		a.log.Warn("cannot list the logs on disk", "err", err)
	}
	for _, ref := range logged {
		if unused(types.UID(ref.UID)) {
			if err := a.cfg.Runtime.RemoveLogs(ref); err != nil {
				a.log.Warn("logs of a pod that is gone stay until the next start", "uid", ref.UID, "err", err)
			}
		}
	}
}

// unknownPod is a pod made up from what the machine holds of it: enough to stop
// and remove it.
func unknownPod(uid types.UID, p runtime.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To[int64](30)}}
	if p.Sandbox != nil {
		out.Namespace, out.Name = p.Sandbox.Pod.Namespace, p.Sandbox.Pod.Name
	}
	seen := map[string]bool{}
	for _, c := range p.Containers {
		out.Namespace, out.Name = c.Pod.Namespace, c.Pod.Name
		if !seen[c.Name] {
			seen[c.Name] = true
			out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name})
		}
	}
	return out
}

// storageUsage is what a pod takes of the disk.
func (a *Agent) storageUsage(ctx context.Context, p *corev1.Pod) (pod.Storage, error) {
	containers, layers, err := a.cfg.Runtime.StorageUsage(ctx, string(p.UID))
	if err != nil {
		return pod.Storage{}, err
	}
	volumes, other, files, err := a.volumes.Usage(p)
	return pod.Storage{EmptyDirs: volumes, Containers: containers, Other: other, Inodes: layers + files}, err
}
