package statefulset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A set is written as its size and words: parallel, ondelete, partition=N, max=N or N%,
// start=N, minready=N, deleted, claims=NAME+NAME, whenscaled, whendeleted (claims are
// deleted then).
func newSet(text string) *appsv1.StatefulSet {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "set", Generation: 4}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}
	set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{WhenDeleted: "Retain", WhenScaled: "Retain"}
	rolling := &appsv1.RollingUpdateStatefulSetStrategy{}
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: rolling}
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		v := intstr.Parse(value)
		switch name {
		case "parallel":
			set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
		case "ondelete":
			set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
		case "partition":
			rolling.Partition = &v.IntVal
		case "max":
			rolling.MaxUnavailable = &v
		case "start":
			set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: v.IntVal}
		case "minready":
			set.Spec.MinReadySeconds = v.IntVal
		case "claims":
			for name := range strings.SplitSeq(value, "+") {
				claim := corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"disk": "fast", "app": "x"}}}
				set.Spec.VolumeClaimTemplates = append(set.Spec.VolumeClaimTemplates, claim)
			}
		case "whenscaled":
			set.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		case "whendeleted":
			set.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		case "deleted":
			set.DeletionTimestamp = &metav1.Time{Time: now}
		default:
			n := intstr.Parse(word)
			set.Spec.Replicas = &n.IntVal
		}
	}
	return set
}

// A pod is written as its number, its revision and its state: ready, young (ready, but
// not for long), failed, succeeded, deleted, anonymous.
func newPods(set *appsv1.StatefulSet, lines ...string) []*corev1.Pod {
	var list []*corev1.Pod
	for _, line := range lines {
		words := strings.Fields(line)
		number := intstr.Parse(words[0])
		pod := newPod(set, &corev1.PodTemplateSpec{}, words[1], number.IntValue())
		pod.UID, pod.Status.Phase = types.UID(pod.Name), corev1.PodPending
		for _, state := range words[2:] {
			switch state {
			case "ready", "young":
				since := now.Add(-time.Hour)
				if state == "young" {
					since = now.Add(-time.Second)
				}
				pod.Status.Phase = corev1.PodRunning
				pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(since)}}
			case "failed":
				pod.Status.Phase = corev1.PodFailed
			case "succeeded":
				pod.Status.Phase = corev1.PodSucceeded
			case "deleted":
				pod.DeletionTimestamp = &metav1.Time{Time: now}
			case "anonymous":
				delete(pod.Labels, appsv1.PodIndexLabel)
			}
		}
		list = append(list, pod)
	}
	return list
}

func words(set *appsv1.StatefulSet, p Plan) string {
	var parts []string
	for _, c := range p.Claims {
		parts = append(parts, "+"+c.Claim.Name+ownersOf(c.Claim))
	}
	for _, o := range p.Own {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: *o.Claim}
		claim.OwnerReferences, _, _ = owners(o.Claim, set, o.Pod)
		parts = append(parts, "="+claim.Name+ownersOf(claim))
	}
	for _, c := range p.Create {
		parts = append(parts, fmt.Sprintf("+%d %s", c.Ordinal, c.Revision))
	}
	for _, pod := range p.Delete {
		parts = append(parts, "-"+strings.TrimPrefix(pod.Name, "db-"))
	}
	for _, pod := range p.Identify {
		parts = append(parts, "="+strings.TrimPrefix(pod.Name, "db-"))
	}
	for _, e := range p.Events {
		parts = append(parts, e.Reason)
	}
	if p.After > 0 {
		parts = append(parts, p.After.String())
	}
	return strings.Join(parts, ", ")
}

// TestDecide: the cases are those of Kubernetes' documentation of StatefulSets.
func TestDecide(t *testing.T) {
	old := []string{"0 old ready", "1 old ready", "2 old ready"}
	for name, tc := range map[string]struct {
		set  string
		pods []string
		want string
	}{
		"the first":                               {set: "3", want: "+0 new"},
		"the second waits for the first":          {set: "3", pods: []string{"0 new"}},
		"the second":                              {set: "3", pods: []string{"0 new ready"}, want: "+1 new"},
		"the second waits until it is available":  {set: "3 minready=5", pods: []string{"0 new young"}, want: "4s"},
		"all at once":                             {set: "3 parallel", want: "+0 new, +1 new, +2 new"},
		"all is well":                             {set: "2", pods: []string{"0 new ready", "1 new ready"}},
		"numbers that start with five":            {set: "2 start=5", pods: []string{"5 new ready"}, want: "+6 new"},
		"numbers that start later than before":    {set: "2 start=1", pods: []string{"0 new ready", "1 new ready", "2 new ready"}, want: "-0"},
		"one in the middle is missing":            {set: "3", pods: []string{"0 new ready", "2 new ready"}, want: "+1 new"},
		"one that goes is waited for":             {set: "3", pods: []string{"0 new ready deleted", "2 new ready"}},
		"one has failed":                          {set: "2", pods: []string{"0 new failed", "1 new ready"}, want: "-0"},
		"one has succeeded":                       {set: "2", pods: []string{"0 new succeeded"}, want: "-0"},
		"one has failed and goes":                 {set: "1", pods: []string{"0 new failed deleted"}},
		"one too many":                            {set: "1", pods: []string{"0 new ready", "1 new ready"}, want: "-1"},
		"two too many, the last first":            {set: "1", pods: []string{"0 new ready", "1 new ready", "2 new ready"}, want: "-2"},
		"two too many, the last goes":             {set: "1", pods: []string{"0 new ready", "1 new ready", "2 new ready deleted"}},
		"two too many, at once":                   {set: "1 parallel", pods: []string{"0 new ready", "1 new ready", "2 new ready"}, want: "-2, -1"},
		"two too many, one of them sick":          {set: "1", pods: []string{"0 new ready", "1 new", "2 new ready"}, want: "-2"},
		"two too many, the last of them sick":     {set: "1", pods: []string{"0 new ready", "1 new ready", "2 new"}, want: "-2"},
		"two too many, both sick":                 {set: "1", pods: []string{"0 new ready", "1 new", "2 new"}},
		"two too many, both sick, at once":        {set: "1 parallel", pods: []string{"0 new ready", "1 new", "2 new"}, want: "-2, -1"},
		"two too many, both sick of the past":     {set: "1", pods: []string{"0 new ready", "1 old", "2 old"}, want: "-2"},
		"all too many, all sick":                  {set: "0", pods: []string{"0 new", "1 new", "2 new"}},
		"all too many, one sick":                  {set: "0", pods: []string{"0 new"}, want: "-0"},
		"too many, and one that stays is sick":    {set: "1", pods: []string{"0 new", "1 new ready"}},
		"rolls the last":                          {set: "3", pods: old, want: "-2"},
		"rolls on":                                {set: "3", pods: []string{"0 old ready", "1 old ready", "2 new ready"}, want: "-1"},
		"rolls two":                               {set: "3 max=2", pods: old, want: "-2, -1"},
		"rolls a share":                           {set: "3 max=67%", pods: old, want: "-2, -1"},
		"rolls a share, rounded down":             {set: "3 max=66%", pods: old, want: "-2"},
		"rolls one at least":                      {set: "3 max=1%", pods: old, want: "-2"},
		"rolls two, one is away":                  {set: "3 max=2 parallel", pods: []string{"0 old ready", "1 old ready", "2 new"}, want: "-1"},
		"rolls up to the partition":               {set: "3 partition=2", pods: old, want: "-2"},
		"has rolled up to the partition":          {set: "3 partition=2", pods: []string{"0 old ready", "1 old ready", "2 new ready"}},
		"below the partition comes the old one":   {set: "3 partition=2", pods: []string{"0 old ready", "2 new ready"}, want: "+1 old"},
		"a partition of all":                      {set: "3 partition=5", pods: old},
		"on delete":                               {set: "3 ondelete", pods: old},
		"on delete, one was deleted":              {set: "3 ondelete", pods: []string{"0 old ready", "2 old ready"}, want: "+1 new"},
		"a broken update waits":                   {set: "3", pods: []string{"0 old ready", "1 old ready", "2 new"}},
		"the way back from a broken update":       {set: "3", pods: []string{"0 new ready", "1 new ready", "2 broken"}, want: "-2"},
		"one broken from the beginning":           {set: "3", pods: []string{"0 old"}, want: "-0"},
		"one broken below the partition":          {set: "3 partition=1", pods: []string{"0 old"}},
		"ready, but not for long, is not broken":  {set: "1 minready=5", pods: []string{"0 old young"}, want: "4s"},
		"parallel, the way back":                  {set: "2 parallel", pods: []string{"0 new ready", "1 broken"}, want: "-1"},
		"parallel, the broken ones first":         {set: "3 parallel", pods: []string{"0 old", "1 old ready", "2 old ready"}, want: "-0"},
		"one without its number":                  {set: "1", pods: []string{"0 new ready anonymous"}, want: "=0"},
		"nothing of one that is deleted":          {set: "3 deleted", pods: []string{"0 old ready", "7 old ready"}},
		"two missing, one below a size of before": {set: "2 parallel", pods: []string{"5 new ready"}, want: "+0 new, +1 new, -5"},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(tc.set)
			if got := words(set, Decide(Input{Set: set, Pods: newPods(set, tc.pods...), Current: "old", Update: "new", Now: now})); got != tc.want {
				t.Errorf("Decide = %q, want %q", got, tc.want)
			}
		})
	}
}

// TestBackoff: a pod that ended a moment ago, too, waits, unless there is another template
// for it, and what is beside it does not.
func TestBackoff(t *testing.T) {
	for name, tc := range map[string]struct {
		set         string
		pods        []string
		want, ended string
	}{
		"failed":              {set: "2", pods: []string{"0 new failed", "1 new ready"}, want: "3s"},
		"succeeded":           {set: "2", pods: []string{"0 new succeeded"}, want: "3s"},
		"of an old template":  {set: "2", pods: []string{"0 old failed", "1 new ready"}, want: "-0", ended: "db-0"},
		"below the partition": {set: "2 partition=1", pods: []string{"0 old failed", "1 new ready"}, want: "3s"},
		"another":             {set: "2", pods: []string{"0 new ready", "1 new failed"}, want: "-1", ended: "db-1"},
		"beside another":      {set: "3 parallel", pods: []string{"0 new failed", "1 new failed"}, want: "+2 new, -1, 3s", ended: "db-1"},
		"too many":            {set: "0", pods: []string{"0 new failed"}, want: "-0"},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(tc.set)
			plan := Decide(Input{Set: set, Pods: newPods(set, tc.pods...), Current: "old", Update: "new", Now: now, Backoff: func(pod string) time.Duration {
				if pod == "db-0" {
					return 3 * time.Second
				}
				return 0
			}})
			var ended []string
			for _, pod := range plan.Ended {
				ended = append(ended, pod.Name)
			}
			if got := words(set, plan); got != tc.want || strings.Join(ended, " ") != tc.ended {
				t.Errorf("Decide = %q, and %v have ended, want %q and %s", got, ended, tc.want, tc.ended)
			}
		})
	}
}

// TestHugeSize: a set may ask for more pods than there is memory for. What a step costs
// depends on the pods that there are, and on how many one step makes.
func TestHugeSize(t *testing.T) {
	for name, tc := range map[string]struct {
		set     string
		pods    []string
		creates int
		first   string
		rest    string
	}{
		"ordered":                         {set: "2147483647", creates: 1, first: "+0 new"},
		"ordered, from a number on":       {set: "2147483647 start=2147483647", creates: 1, first: "+2147483647 new"},
		"parallel":                        {set: "2147483647 parallel", creates: burst, first: "+0 new"},
		"parallel, numbers far away stay": {set: "2147483647 parallel", pods: []string{"0 new ready", "2147483646 new ready"}, creates: burst, first: "+1 new"},
		"far away, of an old template":    {set: "2147483647 parallel max=100%", pods: []string{"0 old ready", "2147483646 old ready"}, creates: burst, first: "+1 new", rest: "-2147483646, -0"},
		"most of them are missing":        {set: "2147483647 parallel max=99%", pods: []string{"0 old ready", "1 old ready"}, creates: burst, first: "+2 new"},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(tc.set)
			plan := Decide(Input{Set: set, Pods: newPods(set, tc.pods...), Current: "old", Update: "new", Now: now})
			if len(plan.Create) != tc.creates {
				t.Fatalf("Decide creates %d pods, want %d", len(plan.Create), tc.creates)
			}
			if got := words(set, Plan{Create: plan.Create[:1]}); got != tc.first {
				t.Errorf("Decide creates first %q, want %q", got, tc.first)
			}
			if got := words(set, Plan{Delete: plan.Delete}); got != tc.rest {
				t.Errorf("Decide deletes %q, want %q", got, tc.rest)
			}
			if got := int(plan.Status.Replicas); got != len(tc.pods) {
				t.Errorf("status.replicas = %d, want %d", got, len(tc.pods))
			}
		})
	}
}

func TestStatus(t *testing.T) {
	set := newSet("4 minready=5 partition=2")
	set.Status.CollisionCount = new(int32(1))
	pods := newPods(set, "0 old ready", "1 old young", "2 new ready", "3 old ready deleted", "9 old")
	want := appsv1.StatefulSetStatus{
		ObservedGeneration: 4, Replicas: 5, ReadyReplicas: 4, AvailableReplicas: 3, CurrentReplicas: 3, UpdatedReplicas: 1,
		CurrentRevision: "old", UpdateRevision: "new", CollisionCount: new(int32(1)),
	}
	if diff := cmp.Diff(want, Decide(Input{Set: set, Pods: pods, Current: "old", Update: "new", Now: now}).Status); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	// Once all are of the new revision, it is the current one, whoever replaced them.
	set = newSet("2 ondelete")
	want = appsv1.StatefulSetStatus{
		ObservedGeneration: 4, Replicas: 2, ReadyReplicas: 2, AvailableReplicas: 2, CurrentReplicas: 2, UpdatedReplicas: 2,
		CurrentRevision: "new", UpdateRevision: "new", CollisionCount: new(int32(0)),
	}
	if diff := cmp.Diff(want, Decide(Input{Set: set, Pods: newPods(set, "0 new ready", "1 new ready"), Current: "old", Update: "new", Now: now}).Status); diff != "" {
		t.Errorf("status of a finished update (-want +got):\n%s", diff)
	}
}

// TestNewPod: what tells one pod from the others.
func TestNewPod(t *testing.T) {
	set := newSet("3")
	set.Spec.ServiceName = "peers"
	pod := newPod(set, &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}}}, "db-abc", 12)
	want := map[string]string{"app": "db", "statefulset.kubernetes.io/pod-name": "db-12", "apps.kubernetes.io/pod-index": "12", "controller-revision-hash": "db-abc"}
	if pod.Name != "db-12" || pod.Spec.Hostname != "db-12" || pod.Spec.Subdomain != "peers" || !cmp.Equal(pod.Labels, want) || !metav1.IsControlledBy(pod, set) {
		t.Errorf("pod = %+v", pod)
	}
	for name, n := range map[string]int{"db-0": 0, "db-12": 12, "db": none, "db-x": none, "other-1": none, "db-1-2": none, "db-99999999999": none} {
		if got := ordinal(set, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}); got != n {
			t.Errorf("ordinal(%s) = %d, want %d", name, got, n)
		}
	}
}

// TestRolls: whatever the sizes, and in whatever order pods become ready, fail and go, an
// update ends with all pods of the new template, and takes away no more that serve than
// it may; in order, nobody is created before all with lower numbers serve.
func TestRolls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, most := rapid.IntRange(1, 6).Draw(t, "size"), rapid.IntRange(1, 3).Draw(t, "most")
		text := fmt.Sprintf("%d max=%d", size, most)
		ordered := rapid.Bool().Draw(t, "ordered")
		if !ordered {
			text += " parallel"
		}
		set := newSet(text)
		var all []*corev1.Pod
		for i := range rapid.IntRange(0, 8).Draw(t, "pods") {
			all = append(all, newPods(set, fmt.Sprintf("%d %s", i, rapid.SampledFrom([]string{"old ready", "old", "broken"}).Draw(t, "pod")))...)
		}
		for step := 0; ; step++ {
			if step > 2000 {
				t.Fatalf("the update does not end")
			}
			serving := func() (n int) {
				for _, pod := range all {
					if o := ordinal(set, pod); o < size && pod.DeletionTimestamp == nil && runs(pod) {
						n++
					}
				}
				return n
			}
			before := serving()
			plan := Decide(Input{Set: set, Pods: all, Current: "old", Update: "new", Now: now})
			for _, c := range plan.Create {
				for _, pod := range all {
					if ordinal(set, pod) == c.Ordinal {
						t.Fatalf("%s is created twice", pod.Name)
					}
					if ordered && ordinal(set, pod) < c.Ordinal && (pod.DeletionTimestamp != nil || !runs(pod)) {
						t.Fatalf("%d is created before %s serves", c.Ordinal, pod.Name)
					}
				}
				all = append(all, newPods(set, fmt.Sprintf("%d %s", c.Ordinal, c.Revision))...)
			}
			for _, pod := range plan.Delete {
				pod.DeletionTimestamp = &metav1.Time{Time: now}
			}
			if after := serving(); after < before && after < size-most {
				t.Fatalf("%d of %d serve, it was %d before", after, size, before)
			}
			if len(plan.Create)+len(plan.Delete) == 0 && len(all) == size && serving() == size {
				break
			}
			if len(all) == 0 {
				continue
			}
			switch i := rapid.IntRange(0, len(all)-1).Draw(t, "moves"); {
			case all[i].DeletionTimestamp != nil:
				all = slices.Delete(all, i, i+1)
			case rapid.IntRange(0, 9).Draw(t, "fails") == 0 && step < 100:
				all[i].Status = corev1.PodStatus{Phase: corev1.PodFailed}
			case revisionOf(all[i]) != "broken" && all[i].Status.Phase == corev1.PodPending:
				all[i].Status = newPods(set, "0 new ready")[0].Status
			}
		}
		for _, pod := range all {
			if revisionOf(pod) != "new" {
				t.Fatalf("%s is of %s", pod.Name, revisionOf(pod))
			}
		}
	})
}
