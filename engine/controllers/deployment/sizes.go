package deployment

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"math"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
)

// replicas is the size that the Deployment asks for.
func replicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

func size(rs *appsv1.ReplicaSet) int32 {
	if rs == nil {
		return 0
	}
	if rs.Spec.Replicas == nil {
		return 1
	}
	return *rs.Spec.Replicas
}

// stale reports whether a set's counts are from before its newest size. A set
// that was made smaller and then larger again may have lost pods since.
func stale(rs *appsv1.ReplicaSet) bool { return rs.Status.ObservedGeneration < rs.Generation }

// available is how many of a set's pods can be counted on: no more than its
// size, neither the one that it has reported on nor the one that it gets now.
func (w *work) available(rs *appsv1.ReplicaSet) int32 {
	if stale(rs) {
		return 0
	}
	return min(rs.Status.AvailableReplicas, w.before[rs], size(rs))
}

func total(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	var n int32
	for _, rs := range sets {
		n += of(rs)
	}
	return n
}

func rolling(d *appsv1.Deployment) bool {
	return d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType
}

// limits resolves maxSurge, rounded up, and maxUnavailable, rounded down.
// Both zero would stand still: then one may be unavailable.
func limits(d *appsv1.Deployment) (surge, unavailable int32) {
	if !rolling(d) {
		return 0, 0
	}
	n := int(replicas(d))
	quarter := intstr.FromString("25%")
	s, u := &quarter, &quarter
	if r := d.Spec.Strategy.RollingUpdate; r != nil {
		if r.MaxSurge != nil {
			s = r.MaxSurge
		}
		if r.MaxUnavailable != nil {
			u = r.MaxUnavailable
		}
	}
	up, err := intstr.GetScaledValueFromIntOrPercent(s, n, true)
	if err != nil {
		up = 0
	}
	down, err := intstr.GetScaledValueFromIntOrPercent(u, n, false)
	if err != nil {
		down = 0
	}
	if up == 0 && down == 0 {
		down = 1
	}
	// With the surge there are still no more than can be counted.
	return int32(min(up, math.MaxInt32-n)), int32(min(down, n))
}

// templateEqual compares pod templates but for the hash label, which only the
// replica sets' templates carry.
func templateEqual(a, b *corev1.PodTemplateSpec) bool {
	return apiequality.Semantic.DeepEqual(withoutHash(a), withoutHash(b))
}

func withoutHash(t *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	if _, ok := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; !ok {
		return t
	}
	c := *t
	c.Labels = maps.Clone(t.Labels)
	delete(c.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	if len(c.Labels) == 0 {
		c.Labels = nil
	}
	return &c
}

// templateHash names a template. collisions tells apart templates that hash
// alike.
func templateHash(t *corev1.PodTemplateSpec, collisions *int32) string {
	h := fnv.New32a()
	// Encoding a type of the API cannot fail.
	data, _ := json.Marshal(t)
	_, _ = h.Write(data)
	if collisions != nil {
		_, _ = h.Write([]byte(strconv.Itoa(int(*collisions))))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// share is by how much a set changes when the Deployment is resized, so that
// all keep their proportion: left is what there is to hand out yet, with its
// sign.
func share(rs *appsv1.ReplicaSet, d *appsv1.Deployment, left int32) int32 {
	if size(rs) == 0 || left == 0 {
		return 0
	}
	part := -size(rs)
	if replicas(d) > 0 {
		surge, _ := limits(d)
		before := annotated(rs, maxReplicasAnnotation)
		if before <= 0 {
			before = d.Status.Replicas
		}
		if before <= 0 {
			before = size(rs)
		}
		part = int32(math.Round(float64(size(rs))*float64(replicas(d)+surge)/float64(before))) - size(rs)
	}
	if left > 0 {
		return min(part, left)
	}
	return max(part, left)
}
