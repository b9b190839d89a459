package rollout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/rollout"
)

// stored are pods.
type stored []*corev1.Pod

func (s stored) Get(object.Key) object.Object { return nil }

func (s stored) List(kind schema.GroupKind, _ string) ([]object.Object, uint64) {
	var list []object.Object
	if kind.Kind == "Pod" {
		for _, p := range s {
			list = append(list, p)
		}
	}
	return list, 1
}

// The scheduler is told of the claims that a plan makes, those of a pod's own among them,
// which go on where those of today's pods end.
func TestClaimsOfPlan(t *testing.T) {
	claim := func(namespace, name string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(1))}}
	d.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "set"}, Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(4)), Ordinals: &appsv1.StatefulSetOrdinals{Start: 5}, VolumeClaimTemplates: []corev1.PersistentVolumeClaim{*claim("", "disk")},
	}}
	var pods stored
	for i := range 2 {
		pods = append(pods, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("db-", 5+i), UID: types.UID(fmt.Sprint(i)), OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))}}})
	}
	action := func(typ plan.Type, kind string, obj, live object.Object) plan.Action {
		group := "apps"
		if kind == "PersistentVolumeClaim" {
			group = ""
		}
		return plan.Action{Type: typ, Key: object.KeyOf(schema.GroupKind{Group: group, Kind: kind}, obj), Object: obj, Live: live}
	}
	actions := []plan.Action{
		action(plan.Create, "PersistentVolumeClaim", claim("shop", "data"), nil), action(plan.Create, "PersistentVolumeClaim", claim("other", "data"), nil),
		action(plan.Update, "PersistentVolumeClaim", claim("shop", "old"), claim("shop", "old")),
		action(plan.Create, "Deployment", d, nil), action(plan.Update, "StatefulSet", set, set),
	}
	effects := rollout.Effects("apps", actions, rollout.Index(pods), map[types.UID]bool{})
	var got []string
	rollout.Simulate(effects, rollout.Claims(actions), func(list []rollout.Rollout) []rollout.Placement {
		for _, r := range list {
			line := fmt.Sprint(r.Pod.Name, " ", r.Count, ":")
			for _, c := range r.Claims {
				line += " " + c.Namespace + "/" + c.Name
			}
			for n := range r.Count {
				if r.Own != nil {
					line += " " + r.Own(n)[0].Volume + "=" + r.Own(n)[0].Claim.Name
				}
			}
			got = append(got, line)
		}
		return make([]rollout.Placement, len(list))
	}, nil)
	if want := []string{"web 1: shop/data", "db 2: disk=disk-db-7 disk=disk-db-8"}; !slices.Equal(got, want) {
		t.Errorf("simulated:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
