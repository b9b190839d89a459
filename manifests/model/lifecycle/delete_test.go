package lifecycle_test

import (
	"math"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
)

func podOn(node string, phase corev1.PodPhase, grace *int64, finalizers ...string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: meta(),
		Spec:       corev1.PodSpec{NodeName: node, TerminationGracePeriodSeconds: grace},
		Status:     corev1.PodStatus{Phase: phase},
	}
	pod.Finalizers = finalizers
	return pod
}

func TestDelete(t *testing.T) {
	thirty := new(int64(30))
	for name, tc := range map[string]struct {
		obj        object.Object
		opts       metav1.DeleteOptions
		gone       bool
		grace      int64
		finalizers []string
	}{
		"config map":                     {obj: &corev1.ConfigMap{ObjectMeta: meta()}, gone: true},
		"config map with a finalizer":    {obj: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"a/b"}}}, finalizers: []string{"a/b"}},
		"running pod":                    {obj: podOn("n", "Running", thirty), grace: 30},
		"running pod, own period":        {obj: podOn("n", "Running", new(int64(5))), grace: 5},
		"running pod, asked":             {obj: podOn("n", "Running", thirty), opts: metav1.DeleteOptions{GracePeriodSeconds: new(int64(7))}, grace: 7},
		"running pod, negative":          {obj: podOn("n", "Running", thirty), opts: metav1.DeleteOptions{GracePeriodSeconds: new(int64(-7))}, grace: 1},
		"running pod, now":               {obj: podOn("n", "Running", thirty), opts: metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, gone: true},
		"running pod, now, finalizer":    {obj: podOn("n", "Running", thirty, "a/b"), opts: metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, finalizers: []string{"a/b"}},
		"unscheduled pod":                {obj: podOn("", "Pending", thirty), gone: true},
		"unscheduled pod, asked":         {obj: podOn("", "Pending", thirty), opts: metav1.DeleteOptions{GracePeriodSeconds: new(int64(9))}, gone: true},
		"succeeded pod":                  {obj: podOn("n", "Succeeded", thirty), gone: true},
		"failed pod":                     {obj: podOn("n", "Failed", thirty), gone: true},
		"deployment, background":         {obj: &appsv1.Deployment{}, opts: metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}, gone: true},
		"deployment, foreground":         {obj: &appsv1.Deployment{}, opts: metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationForeground)}, finalizers: []string{"foregroundDeletion"}},
		"deployment, orphan":             {obj: &appsv1.Deployment{}, opts: metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationOrphan)}, finalizers: []string{"orphan"}},
		"controller, by default":         {obj: &corev1.ReplicationController{}, finalizers: []string{"orphan"}},
		"controller, in background":      {gone: true, obj: &corev1.ReplicationController{}, opts: metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}},
		"deployment, orphanDependents":   {obj: &appsv1.Deployment{}, opts: metav1.DeleteOptions{OrphanDependents: new(true)}, finalizers: []string{"orphan"}}, //nolint:staticcheck // old clients
		"orphan, then background":        {obj: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"orphan"}}}, opts: metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}, gone: true},
		"orphan, no policy":              {obj: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"orphan"}}}, finalizers: []string{"orphan"}},
		"event: nothing depends on it":   {obj: &corev1.Event{}, opts: metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationForeground)}, gone: true},
		"uid and version as they are":    {obj: &corev1.ConfigMap{ObjectMeta: meta()}, opts: metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: new(types.UID("u"))}}, gone: true},
		"a period for a kind without it": {obj: &corev1.ConfigMap{ObjectMeta: meta()}, opts: metav1.DeleteOptions{GracePeriodSeconds: new(int64(9))}, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			was := tc.obj.GetGeneration()
			got, err := lifecycle.Delete(tc.obj, tc.opts, now)
			if err != nil {
				t.Fatal(err)
			}
			if tc.obj.GetDeletionTimestamp() != nil {
				t.Error("Delete changed the object it was given")
			}
			if tc.gone {
				if got != nil {
					t.Fatalf("Delete = %v, want it gone", got)
				}
				return
			}
			if got == nil {
				t.Fatal("Delete removed it, want it kept")
			}
			want := now.Truncate(time.Second).Add(time.Duration(tc.grace) * time.Second)
			if stamp := got.GetDeletionTimestamp(); stamp == nil || !stamp.Time.Equal(want) {
				t.Errorf("deletionTimestamp = %v, want %v", stamp, want)
			}
			if grace := got.GetDeletionGracePeriodSeconds(); grace == nil || *grace != tc.grace {
				t.Errorf("deletionGracePeriodSeconds = %v, want %d", grace, tc.grace)
			}
			if !slices.Equal(got.GetFinalizers(), tc.finalizers) {
				t.Errorf("finalizers = %v, want %v", got.GetFinalizers(), tc.finalizers)
			}
			if was > 0 && got.GetGeneration() != was+1 {
				t.Errorf("generation = %d, want %d", got.GetGeneration(), was+1)
			}
		})
	}
}

func TestDeleteAgain(t *testing.T) {
	first, err := lifecycle.Delete(podOn("n", "Running", new(int64(30))), metav1.DeleteOptions{}, now)
	if err != nil {
		t.Fatal(err)
	}
	later := now.Add(10 * time.Second)
	for _, grace := range []*int64{nil, new(int64(30)), new(int64(60))} {
		again, err := lifecycle.Delete(first, metav1.DeleteOptions{GracePeriodSeconds: grace}, later)
		if err != nil || again != first {
			t.Errorf("a second delete with no shorter period = %v, %v, want the object itself", again, err)
		}
	}
	shorter, err := lifecycle.Delete(first, metav1.DeleteOptions{GracePeriodSeconds: new(int64(15))}, later)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := shorter.GetDeletionTimestamp().Time, now.Truncate(time.Second).Add(15*time.Second); !got.Equal(want) {
		t.Errorf("deletionTimestamp = %v, want %v: counted from the first delete", got, want)
	}
	if shorter.GetGeneration() != first.GetGeneration() {
		t.Error("a second delete raised the generation")
	}
	if gone, err := lifecycle.Delete(first, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, later); err != nil || gone != nil {
		t.Errorf("a delete with grace 0 = %v, %v, want it gone", gone, err)
	}
}

// TestDeleteWithEndlessGrace: a grace period that no clock can count ends late, and not in
// the past, and can be shortened.
func TestDeleteWithEndlessGrace(t *testing.T) {
	for _, grace := range []int64{10_000_000_000, math.MaxInt64} {
		first, err := lifecycle.Delete(podOn("n", "Running", &grace), metav1.DeleteOptions{}, now)
		if err != nil {
			t.Fatal(err)
		}
		if stamp := first.GetDeletionTimestamp(); stamp.Time.Before(now.AddDate(290, 0, 0)) || *first.GetDeletionGracePeriodSeconds() != grace {
			t.Errorf("with a grace period of %d seconds, deletionTimestamp = %v and grace %d", grace, stamp, *first.GetDeletionGracePeriodSeconds())
		}
		shorter, err := lifecycle.Delete(first, metav1.DeleteOptions{GracePeriodSeconds: new(int64(15))}, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := shorter.GetDeletionTimestamp().Time, now.Truncate(time.Second).Add(15*time.Second); !got.Equal(want) {
			t.Errorf("shortened from %d seconds, deletionTimestamp = %v, want %v", grace, got, want)
		}
	}
}

func TestDeletePreconditions(t *testing.T) {
	cm := &corev1.ConfigMap{ObjectMeta: meta()}
	cm.ResourceVersion = "7"
	for want, pre := range map[string]metav1.Preconditions{
		`Operation cannot be fulfilled on ConfigMap "x": the UID in the precondition (v) does not match the UID in record (u). The object might have been deleted and then recreated`:       {UID: new(types.UID("v"))},
		`Operation cannot be fulfilled on ConfigMap "x": the ResourceVersion in the precondition (6) does not match the ResourceVersion in record (7). The object might have been modified`: {ResourceVersion: new("6")},
	} {
		_, err := lifecycle.Delete(cm, metav1.DeleteOptions{Preconditions: &pre}, now)
		if !apierrors.IsConflict(err) || err.Error() != want {
			t.Errorf("Delete = %v, want %s", err, want)
		}
	}
}

func TestNamespaceLife(t *testing.T) {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	lifecycle.PrepareCreate(ns, now)
	terminating, err := lifecycle.Delete(ns, metav1.DeleteOptions{}, now)
	if err != nil || terminating == nil {
		t.Fatalf("Delete = %v, %v, want it Terminating", terminating, err)
	}
	if got := terminating.(*corev1.Namespace).Status.Phase; got != corev1.NamespaceTerminating {
		t.Errorf("phase = %s, want Terminating", got)
	}
	if again, err := lifecycle.Delete(terminating, metav1.DeleteOptions{}, now.Add(time.Minute)); err != nil || again != terminating {
		t.Errorf("a second delete = %v, %v, want the object itself", again, err)
	}
	updated := terminating.DeepCopyObject().(*corev1.Namespace)
	updated.Spec.Finalizers = nil
	lifecycle.PrepareUpdate(updated, terminating)
	if lifecycle.Removable(updated) {
		t.Error("an update of the main resource removed spec.finalizers")
	}
	finalized := terminating.DeepCopyObject().(*corev1.Namespace)
	finalized.Spec.Finalizers = nil
	lifecycle.PrepareFinalize(finalized, terminating.(*corev1.Namespace))
	if !lifecycle.Removable(finalized) {
		t.Error("Removable = false for a terminating namespace without finalizers")
	}
}

func TestRemovable(t *testing.T) {
	stamp := &metav1.Time{Time: now}
	for name, tc := range map[string]struct {
		meta metav1.ObjectMeta
		want bool
	}{
		"alive":       {metav1.ObjectMeta{}, false},
		"terminating": {metav1.ObjectMeta{DeletionTimestamp: stamp, DeletionGracePeriodSeconds: new(int64(0))}, true},
		"finalizer":   {metav1.ObjectMeta{DeletionTimestamp: stamp, Finalizers: []string{"a"}}, false},
		"grace":       {metav1.ObjectMeta{DeletionTimestamp: stamp, DeletionGracePeriodSeconds: new(int64(3))}, false},
	} {
		if got := lifecycle.Removable(&corev1.Pod{ObjectMeta: tc.meta}); got != tc.want {
			t.Errorf("%s: Removable = %t, want %t", name, got, tc.want)
		}
	}
}
