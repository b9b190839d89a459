package syncer_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// running makes the Deployment have a pod whose container runs since started,
// after restarts that ended at that moment.
func (w *world) running(started time.Time, restarts int32) {
	w.t.Helper()
	d := w.deployment()
	owner := func(kind, name string, uid types.UID) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: uid, Controller: new(true)}}
	}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", UID: "rs", OwnerReferences: owner("Deployment", "web", d.UID)}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1-a", OwnerReferences: owner("ReplicaSet", "web-1", "rs")},
		Spec:       d.Spec.Template.Spec,
		Status: corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{
			Name: d.Spec.Template.Spec.Containers[0].Name, Ready: true, RestartCount: restarts,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(started)}},
		}}},
	}
	if restarts > 0 {
		pod.Status.ContainerStatuses[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: 3, Reason: "Error", Message: "cannot read the-secret", FinishedAt: metav1.NewTime(started),
		}
	}
	k, status := key("Pod", "default", pod.Name), pod.Status
	if w.store.Get(k) == nil {
		w.create(rs)
		w.create(pod) // without its status
	}
	w.commit(change.PatchStatus(k, func(o object.Object) bool {
		now, ok := o.(*corev1.Pod)
		if ok {
			now.Status = status
		}
		return ok
	}))
	w.rollout()
}

// A container without a probe is Ready between its crashes: a commit whose
// containers end again and again is not healthy, and is reverted for it, also
// if that begins after its verdict. What the container said is in the status,
// and not in Git.
func TestCrashLoopIsReverted(t *testing.T) {
	for name, crashesBefore := range map[string]bool{"before the verdict": true, "after the verdict": false} {
		t.Run(name, func(t *testing.T) {
			said := &recorder{}
			w := newWorldWith(t, map[string]string{"d.yaml": deployment("web:1")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
				onFailure("revert")(src, ks)
				ks.Spec.Timeout = &metav1.Duration{Duration: 4 * time.Second}
			}, func(cfg *syncer.Config) {
				cfg.Settle, cfg.Events = -1, said
				cfg.Logs = func(_ context.Context, p *corev1.Pod, container string, previous bool, lines int64) (string, error) {
					return fmt.Sprintf("%s\ncut off\n%s/%s %v %d\n", strings.Repeat("x", 2000), p.Name, container, previous, lines), nil
				}
			})
			good := w.started()
			w.write(map[string]string{"d.yaml": deployment("web:crashes")})
			bad := w.push("crash")
			w.eventually("it is applied", func() bool { return w.image() == "web:crashes" })
			if !crashesBefore {
				w.running(time.Now().Add(-time.Minute), 0)
				w.applied(bad)
			}
			// In the future, so that it never stands for long enough.
			w.running(time.Now().Add(time.Hour), 4)
			w.eventually("it is reverted", func() bool { return w.image() == "web:1" })
			w.wentBack(bad, good)
			if got := w.condition("headway.dev/LastHealthy"); strings.Contains(got, bad) {
				t.Errorf("healthy last: %q", got)
			}
			message := git(t, w.bare, "log", "-1", "--format=%B", "main")
			if !strings.Contains(message, "restarted (4 times), last exit: exit code 3 (Error)") || strings.Contains(message, "the-secret") {
				t.Errorf("the revert says %q", message)
			}
			log, err := w.sync.Log("", "", "", -1, 100)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, e := range log {
				found = found || e.Verdict == wire.VerdictFailed && strings.Contains(e.Reason, "it said: \"cannot read the-secret\"")
			}
			if !found {
				t.Errorf("the journal does not tell what the container said: %+v", log)
			}
			if want := "LastLogLines pod web-1-a, container web printed last:\ncut off\nweb-1-a/web true 10\n"; !strings.Contains(said.all(), want) {
				t.Errorf("no event %q in:\n%s", want, said.all())
			}
			if all := fmt.Sprintf("%+v", log) + message + w.condition("Ready"); strings.Contains(all, "cut off") {
				t.Errorf("the end of the log is where all may read it: %s", all)
			}
		})
	}
}
