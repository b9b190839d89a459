package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
)

// Input is what a decision is made from.
type Input struct {
	Deployment *appsv1.Deployment
	// Sets are the ReplicaSets that the Deployment controls.
	Sets []*appsv1.ReplicaSet
	// Running reports whether a set still has pods that have not ended, those
	// being deleted included.
	Running func(rs *appsv1.ReplicaSet) bool
	// Terminating is how many pods are being deleted.
	Terminating int32
	Now         time.Time
}

// Plan is what to write.
type Plan struct {
	// Create is the ReplicaSet of a new template, nil if there is one.
	Create *appsv1.ReplicaSet
	// Update are changed copies of ReplicaSets: their size, minReadySeconds and
	// annotations may differ.
	Update []*appsv1.ReplicaSet
	// Delete are sets beyond the history limit.
	Delete []*appsv1.ReplicaSet
	// Revision is the Deployment's revision annotation, empty to keep the
	// current one.
	Revision string
	Status   appsv1.DeploymentStatus
	// Scaled are the messages of the ScalingReplicaSet events.
	Scaled []string
	// After is when the progress deadline must be checked (0: never).
	After time.Duration
}

// work is the state of one decision.
type work struct {
	Input
	d          *appsv1.Deployment
	newest     *appsv1.ReplicaSet
	old        []*appsv1.ReplicaSet         // ordered by age
	before     map[*appsv1.ReplicaSet]int32 // sizes
	changed    map[*appsv1.ReplicaSet]bool
	conditions []appsv1.DeploymentCondition
	plan       Plan
}

// Decide returns the next step of a Deployment.
func Decide(in Input) Plan {
	w := &work{Input: in, d: in.Deployment, before: map[*appsv1.ReplicaSet]int32{}, changed: map[*appsv1.ReplicaSet]bool{}, conditions: slices.Clone(in.Deployment.Status.Conditions)}
	w.sort()
	if w.d.DeletionTimestamp != nil {
		w.status()
		return w.plan
	}
	w.pausedCondition()
	switch {
	case w.d.Spec.Paused || w.resized():
		w.syncRevision(false)
		w.resize()
		if w.d.Spec.Paused {
			w.history()
		}
		w.status()
	case rolling(w.d):
		w.syncRevision(true)
		w.rollingUpdate()
		w.status()
		w.progress()
	default:
		w.recreate()
		w.status()
		w.progress()
	}
	for _, rs := range append(slices.Clone(w.old), w.newest) {
		if rs != nil && w.changed[rs] && rs != w.plan.Create {
			w.plan.Update = append(w.plan.Update, rs)
		}
	}
	return w.plan
}

// sort copies the sets, so that they can be changed, and finds the newest: the
// oldest one that has the Deployment's template.
func (w *work) sort() {
	for _, rs := range w.Sets {
		c := *rs
		c.Spec.Replicas = new(size(rs))
		w.before[&c] = size(rs)
		w.old = append(w.old, &c)
	}
	slices.SortStableFunc(w.old, func(a, b *appsv1.ReplicaSet) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i, rs := range w.old {
		if templateEqual(&rs.Spec.Template, &w.d.Spec.Template) {
			w.newest = rs
			w.old = slices.Delete(w.old, i, i+1)
			return
		}
	}
}

func (w *work) all() []*appsv1.ReplicaSet {
	if w.newest == nil {
		return w.old
	}
	return append(slices.Clone(w.old), w.newest)
}

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var found []*appsv1.ReplicaSet
	for _, rs := range sets {
		if size(rs) > 0 {
			found = append(found, rs)
		}
	}
	return found
}

// resized reports whether the Deployment's size changed since its sets were
// last scaled.
func (w *work) resized() bool {
	for _, rs := range active(w.all()) {
		if n := annotated(rs, desiredReplicasAnnotation); n >= 0 && n != replicas(w.d) {
			return true
		}
	}
	return false
}

// scale sets a set's size, and the annotations that later resizes need.
func (w *work) scale(rs *appsv1.ReplicaSet, n int32) {
	if before := size(rs); before != n {
		verb := "down"
		if n > before {
			verb = "up"
		}
		rs.Spec.Replicas = new(n)
		w.changed[rs] = true
		w.plan.Scaled = append(w.plan.Scaled, fmt.Sprintf("Scaled %s replica set %s from %d to %d", verb, rs.Name, before, n))
	}
	w.annotateSize(rs)
}

// resize spreads a new size over the sets.
func (w *work) resize() {
	want := replicas(w.d)
	running := active(w.all())
	if len(running) <= 1 {
		only := w.newest
		if len(running) == 1 {
			only = running[0]
		} else if only == nil && len(w.old) > 0 {
			only = w.old[len(w.old)-1]
		}
		if only != nil {
			if size(only) != want {
				w.scale(only, want)
			} else if len(running) == 1 {
				w.annotateSize(only)
			}
		}
		return
	}
	if n := w.newest; n != nil && size(n) == want && n.Status.AvailableReplicas == want && annotated(n, desiredReplicasAnnotation) == want {
		for _, rs := range active(w.old) {
			w.scale(rs, 0)
		}
		return
	}
	if !rolling(w.d) {
		for _, rs := range running {
			w.annotateSize(rs)
		}
		return
	}
	surge, _ := limits(w.d)
	allowed := int32(0)
	if want > 0 {
		allowed = want + surge
	}
	left := allowed - total(running, size)
	// The larger ones first; of equal ones the newer when growing, the older
	// when shrinking.
	slices.SortStableFunc(running, func(a, b *appsv1.ReplicaSet) int {
		if size(a) != size(b) {
			return int(size(b) - size(a))
		}
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); left > 0 {
			return -c
		} else {
			return c
		}
	})
	sizes := make([]int32, len(running))
	for i, rs := range running {
		part := share(rs, w.d, left)
		sizes[i] = size(rs) + part
		left -= part
	}
	sizes[0] = max(0, sizes[0]+left)
	for i, rs := range running {
		w.scale(rs, sizes[i])
	}
}

// newSize is what the newest set may grow to within the surge.
func (w *work) newSize() int32 {
	want, have := replicas(w.d), size(w.newest)
	if !rolling(w.d) {
		return want
	}
	surge, _ := limits(w.d)
	room := want + surge - total(w.all(), size)
	if room <= 0 {
		return have
	}
	return have + min(room, want-have)
}

func (w *work) rollingUpdate() {
	if w.newest != w.plan.Create {
		if want := replicas(w.d); size(w.newest) > want {
			w.scale(w.newest, want)
		} else if size(w.newest) < want {
			w.scale(w.newest, w.newSize())
		}
	}
	w.scaleDownOld()
	if complete(w.d, w.counts()) {
		w.history()
	}
}

// scaleDownOld first takes pods that are not available from the old sets, as
// that costs nothing, then as many others as the new ones make up for.
func (w *work) scaleDownOld() {
	if total(w.old, size) == 0 {
		return
	}
	_, unavailable := limits(w.d)
	minimum := replicas(w.d) - unavailable
	room := total(w.all(), size) - minimum - (size(w.newest) - w.available(w.newest))
	if room <= 0 {
		return
	}
	for _, rs := range w.old {
		if n := min(room, size(rs)-w.available(rs)); n > 0 && !stale(rs) {
			w.scale(rs, size(rs)-n)
			room -= n
		}
	}
	spare := total(w.all(), w.available) - minimum
	for _, rs := range w.old {
		if n := min(spare, size(rs)); n > 0 {
			w.scale(rs, size(rs)-n)
			spare -= n
		}
	}
}

// recreate lets all old pods end before the first new one is made.
func (w *work) recreate() {
	w.syncRevision(false)
	if down := active(w.old); len(down) > 0 {
		for _, rs := range down {
			w.scale(rs, 0)
		}
		return
	}
	if slices.ContainsFunc(w.old, w.Running) {
		return
	}
	w.syncRevision(true)
	if w.newest != w.plan.Create && size(w.newest) != replicas(w.d) {
		w.scale(w.newest, replicas(w.d))
	}
	if complete(w.d, w.counts()) {
		w.history()
	}
}

// history deletes the oldest revisions beyond the limit.
func (w *work) history() {
	if w.d.Spec.RevisionHistoryLimit == nil {
		return
	}
	sets := slices.DeleteFunc(slices.Clone(w.old), func(rs *appsv1.ReplicaSet) bool { return rs.DeletionTimestamp != nil })
	excess := len(sets) - int(*w.d.Spec.RevisionHistoryLimit)
	if excess <= 0 {
		return
	}
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revision(a), revision(b)) })
	for _, rs := range sets[:excess] {
		if rs.Status.Replicas == 0 && size(rs) == 0 && rs.Generation <= rs.Status.ObservedGeneration && !w.changed[rs] {
			w.plan.Delete = append(w.plan.Delete, rs)
		}
	}
}

// create makes the set of a new template.
func (w *work) create(rev int64) {
	hash := templateHash(&w.d.Spec.Template, w.d.Status.CollisionCount)
	template := w.d.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := w.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: control.Ending(w.d.Name, "-"+hash, validation.DNS1123SubdomainMaxLength), Namespace: w.d.Namespace,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{*reference(w.d)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To[int32](0), MinReadySeconds: w.d.Spec.MinReadySeconds,
			Selector: selector, Template: *template,
		},
	}
	w.newest = rs
	w.plan.Create = rs
	w.annotate(rs, rev)
	w.scale(rs, w.newSize())
	w.setProgressing(corev1.ConditionTrue, newReplicaSetReason, fmt.Sprintf("Created new replica set %q", rs.Name))
}

func reference(d *appsv1.Deployment) *metav1.OwnerReference {
	return metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))
}

func withHash(labels map[string]string, hash string) map[string]string {
	c := maps.Clone(labels)
	if c == nil {
		c = map[string]string{}
	}
	c[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return c
}
