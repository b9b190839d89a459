package worker

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A pod of a StatefulSet has the name of the one before, whose containers may still end,
// with a deletion timestamp or, if it had no time left, without one: who asks for the
// name means the one that the API has.
func TestPodByName(t *testing.T) {
	set := NewSet()
	add := func(uid types.UID, deleting, removed bool) {
		w := &worker{removed: removed, pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db-0", UID: uid}}}
		if deleting {
			w.pod.DeletionTimestamp = new(metav1.Now())
		}
		set.workers[uid] = w
	}
	asked := func(want types.UID) {
		t.Helper()
		for range 20 { // maps have no order
			if p, ok := set.Pod("default", "db-0"); !ok || p.UID != want {
				t.Fatalf("found %v, want %s", p, want)
			}
		}
	}
	add("killed", false, true)
	asked("killed")
	add("ends", true, false)
	asked("ends")
	add("runs", false, false)
	asked("runs")
	if p, ok := set.Pod("default", "db-1"); ok {
		t.Errorf("found %v, want none", p)
	}
}
