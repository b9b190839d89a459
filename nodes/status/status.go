package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
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
	want            []byte
	// sent is what the API has, as far as we know: what it told, or what we
	// wrote last; version is the resource version of that.
	sent    []byte
	version uint64
	finish  bool // remove the pod after the write
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
func (s *Writer) Set(p *corev1.Pod, status corev1.PodStatus, finish bool) {
	want, err := ownedStatus(status)
	if err != nil {
		s.log.Error("pod status cannot be encoded", "pod", p.Namespace+"/"+p.Name, "err", err)
		return
	}
	reported, err := ownedStatus(p.Status)
	if err != nil {
		reported = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.pods[p.UID]
	if e == nil {
		e = &podStatus{namespace: p.Namespace, name: p.Name, sent: reported}
		s.pods[p.UID] = e
	}
	// A version newer than our last write reports whether others changed the
	// status since; an older one is just late.
	if version, err := strconv.ParseUint(p.ResourceVersion, 10, 64); err == nil && version > e.version {
		e.sent, e.version = reported, version
	}
	e.want, e.finish = want, e.finish || finish
	switch {
	case e.finish:
		s.keys.Wake(p.UID)
	case bytes.Equal(e.want, e.sent):
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
	reported, err := ownedStatus(p.Status)
	if err != nil {
		reported = nil
	}
	e.sent, e.version = reported, version
	if !bytes.Equal(e.want, e.sent) {
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
	want, sent, finish, pods := e.want, e.sent, e.finish, s.client.CoreV1().Pods(e.namespace)
	name := e.name
	s.mu.Unlock()

	if !bytes.Equal(want, sent) {
		patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"status":%s}`, uid, want)
		updated, err := pods.Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err):
			// The pod is gone, or another one has its name: the watch will tell.
			s.Look.saw(uid)
			return nil
		case err != nil:
			return fmt.Errorf("patch status of %s: %w", name, err)
		}
		s.mu.Lock()
		e.sent = want
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

// ownedFields are the parts of a pod's status that the node owns. Those that
// are empty are sent as null, or an old value would stay.
var ownedFields = []string{
	"observedGeneration", "phase", "message", "reason", "hostIP", "hostIPs", "podIP", "podIPs", "startTime", "qosClass",
	"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses",
}

// ownedConditions are the conditions the node owns; others belong to others.
// DisruptionTarget is shared: it is sent as it was found, unless the node
// evicts the pod.
// They are compared and sent in this order: a merge in the API may have left
// another one, which is no difference.
var ownedConditions = []corev1.PodConditionType{
	corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady,
	corev1.DisruptionTarget, corev1.PodResizePending, corev1.PodResizeInProgress,
}

// passing are those of them that are there only while they hold.
var passing = []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress}

// ownedStatus is the part of a status that the node writes, as a strategic
// merge patch in a canonical form.
func ownedStatus(status corev1.PodStatus) ([]byte, error) {
	data, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(ownedFields)+1)
	for _, field := range ownedFields {
		if value, ok := all[field]; ok {
			out[field] = value
		} else {
			out[field] = nil
		}
	}
	// These lists are merged by key: without the directive an address that is
	// gone would stay.
	replace := map[string]string{"$patch": "replace"}
	if len(status.PodIPs) > 0 {
		out["podIPs"] = append(toAny(status.PodIPs), replace)
	}
	if len(status.HostIPs) > 0 {
		out["hostIPs"] = append(toAny(status.HostIPs), replace)
	}
	var conditions []any
	for _, kind := range ownedConditions {
		i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		if i < 0 {
			if slices.Contains(passing, kind) {
				conditions = append(conditions, map[string]any{"$patch": "delete", "type": kind})
			}
			continue
		}
		c := status.Conditions[i]
		conditions = append(conditions, struct {
			corev1.PodCondition

			// Conditions are merged by type: sent as null like the fields above, or
			// the reason of a False condition would stay when it becomes True.
			Reason  *string `json:"reason"`
			Message *string `json:"message"`
		}{c, orNull(c.Reason), orNull(c.Message)})
	}
	out["conditions"] = conditions
	return json.Marshal(out)
}

// orNull is nil for the empty string.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func toAny[T any](list []T) []any {
	out := make([]any, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}
