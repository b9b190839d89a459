package deployment

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/kubectl/pkg/util/deployment"
)

const (
	revisionAnnotation        = deployment.RevisionAnnotation
	revisionHistoryAnnotation = deployment.RevisionHistoryAnnotation
	desiredReplicasAnnotation = deployment.DesiredReplicasAnnotation
	maxReplicasAnnotation     = deployment.MaxReplicasAnnotation
	rollbackAnnotation        = appsv1.DeprecatedRollbackTo
	// maxHistory bounds revision-history, in bytes.
	maxHistory = 2000
)

// notCopied are the Deployment's annotations that its sets do not get.
var notCopied = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	revisionAnnotation:                 true,
	revisionHistoryAnnotation:          true,
	desiredReplicasAnnotation:          true,
	maxReplicasAnnotation:              true,
	rollbackAnnotation:                 true,
}

// revision is the set's number in the history, 0 if it has none.
func revision(rs *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(rs.Annotations[revisionAnnotation], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// annotated reads a size from an annotation, -1 if it is not there.
func annotated(rs *appsv1.ReplicaSet, key string) int32 {
	n, err := strconv.ParseInt(rs.Annotations[key], 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// syncRevision gives the newest set the highest revision, and creates it if it
// is missing and create is set.
func (w *work) syncRevision(create bool) {
	var last int64
	for _, rs := range w.old {
		last = max(last, revision(rs))
	}
	rev := last + 1
	switch {
	case w.newest == nil && !create:
		return
	case w.newest == nil:
		w.create(rev)
	case w.newest != w.plan.Create:
		w.annotate(w.newest, rev)
		if w.newest.Spec.MinReadySeconds != w.d.Spec.MinReadySeconds {
			w.newest.Spec.MinReadySeconds = w.d.Spec.MinReadySeconds
			w.changed[w.newest] = true
		}
		if condition(w.conditions, appsv1.DeploymentProgressing) == nil {
			w.setProgressing(corev1.ConditionTrue, foundNewReason, `Found new replica set "`+w.newest.Name+`"`)
		}
	}
	if now := w.newest.Annotations[revisionAnnotation]; w.d.Annotations[revisionAnnotation] != now {
		w.plan.Revision = now
	}
}

// annotate copies the Deployment's annotations (the change cause among them)
// and sets the revision; the ones that a rollback leaves go into the history.
func (w *work) annotate(rs *appsv1.ReplicaSet, rev int64) {
	next := maps.Clone(rs.Annotations)
	if next == nil {
		next = map[string]string{}
	}
	for k, v := range w.d.Annotations {
		if !notCopied[k] {
			next[k] = v
		}
	}
	if before := revision(rs); before < rev {
		next[revisionAnnotation] = strconv.FormatInt(rev, 10)
		if before > 0 {
			past := append(split(next[revisionHistoryAnnotation]), strconv.FormatInt(before, 10))
			for len(past) > 1 && len(strings.Join(past, ",")) > maxHistory {
				past = past[1:]
			}
			next[revisionHistoryAnnotation] = strings.Join(past, ",")
		}
	}
	if !maps.Equal(next, rs.Annotations) {
		rs.Annotations = next
		w.changed[rs] = true
	}
}

func (w *work) annotateSize(rs *appsv1.ReplicaSet) {
	surge, _ := limits(w.d)
	wanted := strconv.Itoa(int(replicas(w.d)))
	most := strconv.Itoa(int(replicas(w.d) + surge))
	if rs.Annotations[desiredReplicasAnnotation] == wanted && rs.Annotations[maxReplicasAnnotation] == most {
		return
	}
	next := maps.Clone(rs.Annotations)
	if next == nil {
		next = map[string]string{}
	}
	next[desiredReplicasAnnotation], next[maxReplicasAnnotation] = wanted, most
	rs.Annotations = next
	w.changed[rs] = true
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
