package status

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"pgregory.net/rapid"
)

// statuses draws statuses with and without all that the node owns, and with what
// others do.
func statuses(t *rapid.T, name string) corev1.PodStatus {
	has := func(what string) bool { return rapid.Bool().Draw(t, name+": "+what) }
	text := rapid.SampledFrom([]string{"", "one", "two"})
	at := metav1.NewTime(time.Unix(rapid.Int64Range(1, 3).Draw(t, name+": time"), 0))
	s := corev1.PodStatus{
		Phase:   rapid.SampledFrom([]corev1.PodPhase{corev1.PodPending, corev1.PodRunning, corev1.PodFailed}).Draw(t, name+": phase"),
		Message: text.Draw(t, name+": message"), Reason: text.Draw(t, name+": reason"), QOSClass: corev1.PodQOSBurstable,
		NominatedNodeName: text.Draw(t, name+": nominated"), ObservedGeneration: rapid.Int64Range(0, 2).Draw(t, name+": generation"),
	}
	if has("addresses") {
		s.HostIP, s.HostIPs = "10.0.0.1", []corev1.HostIP{{IP: "10.0.0.1"}}
		s.PodIP, s.PodIPs = "10.1.0.1", []corev1.PodIP{{IP: "10.1.0.1"}, {IP: "fd00::1"}}
	}
	if has("more addresses") {
		s.PodIP, s.PodIPs = "10.1.0.2", []corev1.PodIP{{IP: "10.1.0.2"}}
	}
	if has("start") {
		s.StartTime = &at
	}
	if has("containers") {
		s.ContainerStatuses = []corev1.ContainerStatus{{
			Name: "web", Ready: has("ready"), RestartCount: rapid.Int32Range(0, 2).Draw(t, name+": restarts"),
			State:              corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at}},
			AllocatedResources: corev1.ResourceList{"cpu": resource.MustParse("100m")},
		}}
	}
	kinds := slices.Concat(ownedConditions, []corev1.PodConditionType{corev1.PodScheduled, "example.com/gate"})
	for _, kind := range rapid.Permutation(kinds).Draw(t, name+": conditions")[:rapid.IntRange(0, len(kinds)).Draw(t, name+": count")] {
		s.Conditions = append(s.Conditions, corev1.PodCondition{
			Type: kind, Status: rapid.SampledFrom([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}).Draw(t, name+": condition"),
			Reason: text.Draw(t, name+": condition's reason"), Message: text.Draw(t, name+": condition's message"), LastTransitionTime: at, ObservedGeneration: 1,
		})
	}
	return s
}

// A status that is sent in a whole pod is the one that its patch makes of the same pod.
func TestMergedAsPatched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := corev1.Pod{Status: statuses(t, "base")}
		want := owned(statuses(t, "want"))
		change, err := patch(want)
		if err != nil {
			t.Fatal(err)
		}
		before, err := json.Marshal(base)
		if err != nil {
			t.Fatal(err)
		}
		after, err := strategicpatch.StrategicMergePatch(before, slices.Concat([]byte(`{"status":`), change, []byte("}")), corev1.Pod{})
		if err != nil {
			t.Fatal(err)
		}
		var patched corev1.Pod
		if err := json.Unmarshal(after, &patched); err != nil {
			t.Fatal(err)
		}
		got := merged(base.Status, want)
		if !alike.DeepEqual(got, patched.Status) {
			t.Errorf("merged, and not as patched (-patched +merged):\n%s", cmp.Diff(patched.Status, got))
		}
		if !same(owned(got), owned(patched.Status)) {
			t.Error("what the node owns of both differs")
		}
	})
}

// A time that the API has in seconds is no difference, nor is a quantity in other words.
func TestSame(t *testing.T) {
	status := func(nanos int64, cpu string) corev1.PodStatus {
		at := metav1.NewTime(time.Unix(5, nanos))
		return owned(corev1.PodStatus{StartTime: &at, ContainerStatuses: []corev1.ContainerStatus{{AllocatedResources: corev1.ResourceList{"cpu": resource.MustParse(cpu)}}}})
	}
	if !same(status(0, "1"), status(999, "1000m")) {
		t.Error("what the API has alike differs")
	}
	if same(status(0, "1"), status(0, "2")) {
		t.Error("another quantity is no difference")
	}
}

// What others wrote meanwhile stays: a status that would take it back is sent as a
// patch, and so is one of which no newest version is known.
func TestSentOnWhatIsNewest(t *testing.T) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-1", ResourceVersion: "5"}}
	client := fake.NewClientset()
	var verbs []string
	conflict := false
	client.PrependReactor("*", "pods", func(action clienttesting.Action) (bool, runtime.Object, error) {
		verbs = append(verbs, action.GetVerb()+" "+action.GetSubresource())
		if conflict && action.GetVerb() == "update" {
			return true, nil, apierrors.NewConflict(corev1.Resource("pods"), "web", nil)
		}
		answer := p.DeepCopy()
		answer.ResourceVersion = "10"
		return true, answer, nil
	})
	s := New(client, NewFirstLook(func() {}), slog.New(slog.DiscardHandler))
	defer s.keys.ShutDown()
	write := func(phase corev1.PodPhase, want ...string) {
		t.Helper()
		verbs = nil
		s.Set(p, corev1.PodStatus{Phase: phase}, false)
		if err := s.write(t.Context(), p.UID); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, verbs); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	}
	write(corev1.PodRunning, "update status")
	write(corev1.PodRunning)
	write(corev1.PodSucceeded, "patch status") // the watch has not brought version 10 yet
	p = p.DeepCopy()
	p.ResourceVersion, p.Status.Phase = "11", corev1.PodRunning
	conflict = true
	write(corev1.PodFailed, "update status", "patch status")
}
