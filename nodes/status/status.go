package status

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"headway.dev/manifests/loop"
)

const (
	statusWriters = 4
	// statusPause is how long a status that only says "starting" may wait for a
	// better one: most pods run before it is over, which saves a write.
	statusPause = 250 * time.Millisecond
)

// Writer writes pod statuses to the API: only changes, only the newest, in
// order for each pod, until it succeeds.
type Writer struct {
	client kubernetes.Interface
	// Look receives what the API has.
	Look *FirstLook
	log  *slog.Logger
	keys *loop.Keys[types.UID]

	mu   sync.Mutex
	pods map[types.UID]*podStatus
}

// podStatus is what is known of one pod's status.
type podStatus struct {
	namespace, name string
	want            corev1.PodStatus
	// sent is what the API has, as far as we know: what it told, or what we
	// wrote last; version is the resource version of that.
	sent    corev1.PodStatus
	version uint64
	// base is the API's version of the pod of which sent is; nil after a write.
	base   *corev1.Pod
	finish bool // remove the pod after the write
}

// New returns a writer that passes what the API has to look.
func New(client kubernetes.Interface, look *FirstLook, log *slog.Logger) *Writer {
	s := &Writer{client: client, Look: look, log: log, pods: map[types.UID]*podStatus{}}
	s.keys = loop.NewKeys(loop.Options[types.UID]{
		Name: "write the status of pod", Workers: statusWriters, Backoff: loop.Backoff{First: 50 * time.Millisecond, Last: 5 * time.Second},
		Look: func(ctx context.Context, uid types.UID) (time.Duration, error) { return 0, s.write(ctx, uid) },
		Failed: func(_ context.Context, uid types.UID, _ int, err error) {
			log.Warn("pod status not written, trying again", "uid", uid, "err", err)
		},
	})
	return s
}

// Run writes until ctx ends.
func (s *Writer) Run(ctx context.Context) error { return s.keys.Run(ctx) }

// Set sets a pod's status; p is the API's newest version of it. With finish the
// pod is removed from the API after the status is written.
// Nobody changes p or status afterwards.
func (s *Writer) Set(p *corev1.Pod, status corev1.PodStatus, finish bool) {
	want, reported := owned(status), owned(p.Status)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.pods[p.UID]
	if e == nil {
		e = &podStatus{namespace: p.Namespace, name: p.Name, sent: reported}
		s.pods[p.UID] = e
	}
	// A version newer than our last write reports whether others changed the
	// status since; an older one is just late.
	if version, err := strconv.ParseUint(p.ResourceVersion, 10, 64); err == nil && version >= e.version {
		if version > e.version {
			e.sent = reported
		}
		e.version, e.base = version, p
	}
	e.want, e.finish = want, e.finish || finish
	switch {
	case e.finish:
		s.keys.Wake(p.UID)
	case same(e.want, e.sent):
		e.want = e.sent // in memory once
		s.Look.saw(p.UID)
	case starting(status):
		s.keys.WakeAfter(p.UID, statusPause)
	default:
		s.keys.Wake(p.UID)
	}
}

// Listed receives a pod of a full list, which is the API's state, whatever was
// known before: a server that was restored to an older state has lost what it
// had acknowledged, and its resource versions start again from there.
func (s *Writer) Listed(p *corev1.Pod) {
	version, err := strconv.ParseUint(p.ResourceVersion, 10, 64)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.pods[p.UID]
	if e == nil || e.version <= version {
		return
	}
	e.sent, e.version, e.base = owned(p.Status), version, p
	if !same(e.want, e.sent) {
		s.keys.Wake(p.UID)
	}
}

// starting reports whether a status says nothing but that the pod is on its way.
func starting(status corev1.PodStatus) bool {
	if status.Phase != corev1.PodPending {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for _, c := range list {
			if c.RestartCount > 0 || c.State.Waiting == nil ||
				(c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing") {
				return false
			}
		}
	}
	return true
}

// Forget drops what is known of a pod that is gone.
func (s *Writer) Forget(uid types.UID) {
	defer s.Look.saw(uid)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pods, uid)
}

// write brings one pod's newest status to the API.
func (s *Writer) write(ctx context.Context, uid types.UID) error {
	s.mu.Lock()
	e := s.pods[uid]
	if e == nil {
		s.mu.Unlock()
		return nil
	}
	want, sent, base, finish, pods := e.want, e.sent, e.base, e.finish, s.client.CoreV1().Pods(e.namespace)
	name := e.name
	s.mu.Unlock()

	if !same(want, sent) {
		updated, err := send(ctx, pods, name, uid, base, want)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// The pod is gone, or another one has its name: the watch will tell.
			s.Look.saw(uid)
			return nil
		case err != nil:
			return fmt.Errorf("write status of %s: %w", name, err)
		}
		s.mu.Lock()
		if e.sent = want; e.base == base {
			e.base = nil
		}
		if version, err := strconv.ParseUint(updated.ResourceVersion, 10, 64); err == nil {
			e.version = max(e.version, version)
		}
		s.mu.Unlock()
	}
	s.Look.saw(uid)
	if !finish {
		return nil
	}
	err := pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove pod %s from the API: %w", name, err)
	}
	return nil
}
