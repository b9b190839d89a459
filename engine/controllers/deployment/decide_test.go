package deployment_test

import (
	"fmt"
	"math"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/deployment"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a Deployment, its sets and how many of their pods are available.
type world struct {
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	pods map[types.UID]*pods
	now  time.Time
}

// pods are the real numbers of a set; its status may be behind.
type pods struct{ total, available int32 }

func newWorld(replicas int32, surge, unavailable intstr.IntOrString) *world {
	return &world{
		d: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 1},
			Spec: appsv1.DeploymentSpec{
				Replicas: new(replicas), ProgressDeadlineSeconds: ptr.To[int32](600), RevisionHistoryLimit: ptr.To[int32](2),
				Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				Strategy: appsv1.DeploymentStrategy{
					Type:          appsv1.RollingUpdateDeploymentStrategyType,
					RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
				},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "web:1"}}},
				},
			},
		},
		pods: map[types.UID]*pods{},
		now:  start,
	}
}

func (w *world) image(image string) {
	w.d = w.d.DeepCopy()
	w.d.Generation++
	w.d.Spec.Template.Spec.Containers[0].Image = image
}

func (w *world) resize(n int32) {
	w.d = w.d.DeepCopy()
	w.d.Generation++
	w.d.Spec.Replicas = &n
}

// decide takes the Deployment's next step.
func (w *world) decide() deployment.Plan {
	w.now = w.now.Add(time.Second)
	p := deployment.Decide(deployment.Input{
		Deployment: w.d, Sets: w.sets, Now: w.now,
		Running: func(rs *appsv1.ReplicaSet) bool { return w.pods[rs.UID].total > 0 },
	})
	if p.Create != nil {
		p.Create.UID = types.UID(p.Create.Name)
		p.Create.CreationTimestamp = metav1.NewTime(w.now)
		p.Create.Generation = 1
		w.pods[p.Create.UID] = &pods{}
		w.sets = append(w.sets, p.Create)
	}
	for _, u := range p.Update {
		for i, rs := range w.sets {
			if rs.UID == u.UID {
				if *u.Spec.Replicas != *rs.Spec.Replicas {
					u.Generation++
				}
				w.sets[i] = u
			}
		}
	}
	for _, del := range p.Delete {
		for i, rs := range w.sets {
			if rs.UID == del.UID {
				w.sets = append(w.sets[:i:i], w.sets[i+1:]...)
				break
			}
		}
	}
	w.d = w.d.DeepCopy()
	w.d.Status = p.Status
	if p.Revision != "" {
		w.d.Annotations = map[string]string{"deployment.kubernetes.io/revision": p.Revision}
	}
	return p
}

// follow does what the replica set controller does: pods that are not
// available go first.
func (w *world) follow(i int) {
	p := w.pods[w.sets[i].UID]
	p.total = *w.sets[i].Spec.Replicas
	p.available = min(p.available, p.total)
}

func (w *world) report(i int) {
	rs := *w.sets[i]
	p := w.pods[rs.UID]
	rs.Status = appsv1.ReplicaSetStatus{Replicas: p.total, ReadyReplicas: p.available, AvailableReplicas: p.available, ObservedGeneration: rs.Generation}
	w.sets[i] = &rs
}

func (w *world) totals() (asked, available int32) {
	for _, rs := range w.sets {
		asked += *rs.Spec.Replicas
		available += w.pods[rs.UID].available
	}
	return asked, available
}

func (w *world) settle(t *testing.T) {
	t.Helper()
	for range 1000 {
		w.decide()
		for i := range w.sets {
			w.follow(i)
			w.pods[w.sets[i].UID].available = w.pods[w.sets[i].UID].total
			w.report(i)
		}
		if s := w.d.Status; s.UpdatedReplicas == *w.d.Spec.Replicas && s.Replicas == *w.d.Spec.Replicas && s.AvailableReplicas == *w.d.Spec.Replicas && s.ObservedGeneration == w.d.Generation {
			return
		}
	}
	t.Fatalf("does not settle: %+v", w.d.Status)
}

// Whatever the order in which sets follow and report, how late and from which
// templates to which: a rolling update never asks for more pods than it may,
// and never gives up more available ones than it may, and it ends.
func TestRollingUpdateBounds(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		n := int32(r.Intn(12) + 1)
		surge, unavailable := intstr.FromInt32(int32(r.Intn(4))), intstr.FromInt32(int32(r.Intn(4)))
		if r.Intn(2) == 0 {
			surge, unavailable = intstr.FromString(fmt.Sprintf("%d%%", r.Intn(101))), intstr.FromString(fmt.Sprintf("%d%%", r.Intn(101)))
		}
		up, _ := intstr.GetScaledValueFromIntOrPercent(&surge, int(n), true)
		down, _ := intstr.GetScaledValueFromIntOrPercent(&unavailable, int(n), false)
		if up == 0 && down == 0 {
			down = 1
		}
		w := newWorld(n, surge, unavailable)
		w.settle(t)
		for step := range 300 {
			if r.Intn(40) == 0 {
				w.image(fmt.Sprintf("web:%d", r.Intn(4)))
			}
			switch i := r.Intn(len(w.sets)); r.Intn(4) {
			case 0:
				w.decide()
			case 1:
				w.follow(i)
			case 2:
				w.report(i)
			case 3:
				if p := w.pods[w.sets[i].UID]; p.available < p.total {
					p.available++
				}
			}
			asked, available := w.totals()
			if asked > n+int32(up) || available < n-int32(down) {
				t.Fatalf("seed %d step %d: %d replicas, surge %s, unavailable %s: %d asked for (at most %d), %d available (at least %d)",
					seed, step, n, surge.String(), unavailable.String(), asked, n+int32(up), available, n-int32(down))
			}
		}
		w.settle(t)
	}
}

// TestHugeSurge: a surge that leaves what a number of replicas can be is as much as there
// is left.
func TestHugeSurge(t *testing.T) {
	for _, surge := range []intstr.IntOrString{intstr.FromString("25%"), intstr.FromString("90000000000%"), intstr.FromString("70000000000%"), intstr.FromInt32(math.MaxInt32)} {
		for _, n := range []int32{3, math.MaxInt32} {
			w := newWorld(n, surge, intstr.FromInt32(0))
			w.decide()
			if got := *w.sets[0].Spec.Replicas; got != n {
				t.Errorf("with maxSurge %s, a new Deployment of %d has a set of %d", surge.String(), n, got)
			}
		}
	}
}

// A resize in the middle of a rollout keeps the sets' proportions and reaches
// the new size with its surge.
func TestResizeInProportion(t *testing.T) {
	w := newWorld(10, intstr.FromInt32(3), intstr.FromInt32(2))
	w.settle(t)
	w.image("web:2")
	w.decide()
	old, next := *w.sets[0].Spec.Replicas, *w.sets[1].Spec.Replicas
	if old != 8 || next != 3 {
		// Two of the old ones may go at once, and three new ones are made.
		t.Fatalf("sizes = %d, %d, want 8, 3", old, next)
	}
	w.resize(20)
	w.decide()
	old, next = *w.sets[0].Spec.Replicas, *w.sets[1].Spec.Replicas
	if old+next != 23 || old <= next {
		t.Errorf("sizes after the resize = %d, %d, want 23 in all and most of them old", old, next)
	}
	w.settle(t)
}

// Recreate makes no new pod while an old one is left.
func TestRecreate(t *testing.T) {
	w := newWorld(3, intstr.FromInt32(0), intstr.FromInt32(0))
	w.d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	w.settle(t)
	w.image("web:2")
	if p := w.decide(); p.Create != nil || len(p.Update) != 1 || *p.Update[0].Spec.Replicas != 0 {
		t.Fatalf("first step = %+v, want only the old set at 0", p)
	}
	if p := w.decide(); p.Create != nil {
		t.Fatal("a new set is made while old pods run")
	}
	w.follow(0)
	if p := w.decide(); p.Create == nil || *p.Create.Spec.Replicas != 3 {
		t.Fatalf("step after the old pods' end = %+v, want a set of 3", p)
	}
}

// A paused Deployment is resized but not rolled out; resumed, it goes on.
func TestPause(t *testing.T) {
	w := newWorld(2, intstr.FromInt32(1), intstr.FromInt32(0))
	w.settle(t)
	w.image("web:2")
	w.d.Spec.Paused = true
	w.resize(4)
	p := w.decide()
	if p.Create != nil || len(p.Update) != 1 || *p.Update[0].Spec.Replicas != 4 {
		t.Fatalf("plan of the paused deployment = %+v, want the old set at 4", p)
	}
	if c := find(p.Status, appsv1.DeploymentProgressing); c.Status != corev1.ConditionUnknown || c.Reason != "DeploymentPaused" {
		t.Errorf("Progressing = %+v, want Unknown DeploymentPaused", c)
	}
	w.d = w.d.DeepCopy()
	w.d.Spec.Paused = false
	if p := w.decide(); p.Create == nil {
		t.Errorf("plan of the resumed deployment = %+v, want a new set", p)
	}
}

// A rollout that does not move for its deadline says so, and takes back what
// it said when it goes on.
func TestProgressDeadline(t *testing.T) {
	w := newWorld(2, intstr.FromInt32(1), intstr.FromInt32(0))
	w.settle(t)
	w.image("web:broken")
	p := w.decide()
	if p.After <= 0 || p.After > 602*time.Second {
		t.Errorf("looks again after %v, want at the deadline", p.After)
	}
	w.now = w.now.Add(11 * time.Minute)
	p = w.decide()
	name := w.sets[1].Name
	if c := find(p.Status, appsv1.DeploymentProgressing); c.Status != corev1.ConditionFalse || c.Reason != "ProgressDeadlineExceeded" ||
		c.Message != fmt.Sprintf("ReplicaSet %q has timed out progressing.", name) {
		t.Errorf("Progressing = %+v, want False ProgressDeadlineExceeded", c)
	}
	w.settle(t)
	if c := find(w.d.Status, appsv1.DeploymentProgressing); c.Reason != "NewReplicaSetAvailable" {
		t.Errorf("Progressing at the end = %+v, want NewReplicaSetAvailable", c)
	}
}

// Old revisions beyond the limit go, the oldest first; the newest set carries
// the change cause.
func TestHistory(t *testing.T) {
	w := newWorld(1, intstr.FromInt32(1), intstr.FromInt32(0))
	for i := range 5 {
		w.image(fmt.Sprintf("web:v%d", i))
		w.d.Annotations = map[string]string{"kubernetes.io/change-cause": fmt.Sprintf("v%d", i)}
		w.settle(t)
		w.decide()
	}
	var revisions []string
	for _, rs := range w.sets {
		revisions = append(revisions, rs.Annotations["deployment.kubernetes.io/revision"]+"="+rs.Annotations["kubernetes.io/change-cause"])
	}
	if got := strings.Join(revisions, " "); got != "3=v2 4=v3 5=v4" {
		t.Errorf("history = %s, want 3=v2 4=v3 5=v4", got)
	}
}

// The revision after that of a set which was there before is its number and one, however
// large.
func TestRevisionAfterAdoption(t *testing.T) {
	w := newWorld(1, intstr.FromString("25%"), intstr.FromString("25%"))
	adopted := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "before", UID: "before", Generation: 1, Annotations: map[string]string{"deployment.kubernetes.io/revision": "3546343826724305832"}},
		Spec:       appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](1), Template: *w.d.Spec.Template.DeepCopy()},
	}
	adopted.Spec.Template.Labels["pod"] = "other"
	w.sets, w.pods[adopted.UID] = []*appsv1.ReplicaSet{adopted}, &pods{1, 1}
	w.report(0)
	w.settle(t)
	if got := w.d.Annotations["deployment.kubernetes.io/revision"]; got != "3546343826724305833" || len(w.sets) != 2 || *w.sets[0].Spec.Replicas != 0 {
		t.Errorf("revision %s of %d sets, want the next one after that of the adopted set", got, len(w.sets))
	}
}

// The names of sets are as long as a name may be, valid wherever that of the Deployment
// is cut off, and differ with the template.
func TestLongName(t *testing.T) {
	for from := range 4 {
		w := newWorld(1, intstr.FromInt32(1), intstr.FromInt32(0))
		w.d.Name = strings.TrimRight((strings.Repeat("x", from) + strings.Repeat("a.b-", 100))[:validation.DNS1123SubdomainMaxLength], ".-")
		w.settle(t)
		w.image("web:2")
		w.settle(t)
		a, b := w.sets[0].Name, w.sets[1].Name
		if a == b || len(a) < 248 {
			t.Errorf("sets of a Deployment with a long name are %s and %s", a, b)
		}
		for _, name := range []string{a, b} {
			if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 {
				t.Errorf("the set of %s is %s: %v", w.d.Name, name, wrong)
			}
		}
	}
}

// A failure of a set is the Deployment's, since when it is there.
func TestReplicaFailure(t *testing.T) {
	w := newWorld(1, intstr.FromInt32(1), intstr.FromInt32(0))
	w.decide()
	since := metav1.NewTime(start.Add(-time.Hour))
	w.sets[0].Status.Conditions = []appsv1.ReplicaSetCondition{{
		Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "no room", LastTransitionTime: since,
	}}
	want := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "no room", LastTransitionTime: since, LastUpdateTime: since,
	}
	for range 2 {
		if got := w.decide().Status.Conditions; !slices.Contains(got, want) {
			t.Errorf("conditions are %v, want %v", got, want)
		}
	}
	w.settle(t)
	w.sets[0].Status.Conditions = nil
	if got := w.decide().Status.Conditions; slices.ContainsFunc(got, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentReplicaFailure }) {
		t.Errorf("conditions are %v, want no failure", got)
	}
}

// Unhealthy pods of old sets make room first: a rollout gets past a broken
// revision without touching the available pods.
func TestPastBrokenRevision(t *testing.T) {
	w := newWorld(4, intstr.FromInt32(1), intstr.FromInt32(0))
	w.settle(t)
	w.image("web:broken")
	w.decide()
	w.follow(1)
	w.report(1)
	w.image("web:3")
	for range 3 {
		w.decide()
	}
	if got := *w.sets[1].Spec.Replicas; got != 0 {
		t.Errorf("the broken set has %d replicas, want 0", got)
	}
	if got := *w.sets[0].Spec.Replicas; got != 4 {
		t.Errorf("the working set has %d replicas, want 4", got)
	}
	if got := *w.sets[2].Spec.Replicas; got != 1 {
		t.Errorf("the new set has %d replicas, want 1", got)
	}
}

func find(s appsv1.DeploymentStatus, typ appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, c := range s.Conditions {
		if c.Type == typ {
			return c
		}
	}
	return appsv1.DeploymentCondition{}
}
