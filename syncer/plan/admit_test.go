package plan_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

// What admission makes of what Git declares is no change, although Git has
// another value: only a change that is left after admission is one.
func TestWhatAdmissionMakesIsNoChange(t *testing.T) {
	s := memstore.New()
	carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, config)), s))
	rewrite := func(obj object.Object) bool {
		obj.(*corev1.ConfigMap).Data["a"] = "by admission"
		return true
	}
	key := object.Key{Namespace: "web", Name: "web"}
	key.Kind = "ConfigMap"
	if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{change.Patch(key, rewrite)}}); err != nil {
		t.Fatal(err)
	}
	in := input(items(t, namespace, config))
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Update ConfigMap/web data.a:by admission>one")
	in.Admit = func(next, live object.Object) (object.Object, bool) {
		if live == nil {
			t.Error("asked about an object that does not exist")
		}
		next = next.DeepCopyObject().(object.Object)
		if _, ok := next.(*corev1.ConfigMap); ok {
			rewrite(next)
		}
		return next, true
	}
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	// What it said is remembered while it cannot be asked, and nothing else is.
	silent := in
	silent.Admit = func(_, _ object.Object) (object.Object, bool) { return nil, false }
	want(t, plan.New(nil).Plan(t.Context(), silent, s), "Unchanged Namespace/web", "Update ConfigMap/web data.a:by admission>one")
	remembers := plan.New(nil)
	want(t, remembers.Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	want(t, remembers.Plan(t.Context(), silent, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	want(t, remembers.Plan(t.Context(), silent, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
	// Once admission does that no longer, Git's value is missed.
	later := in
	later.Admit = nil
	want(t, remembers.Plan(t.Context(), later, s), "Unchanged Namespace/web", "Update ConfigMap/web data.a:by admission>one")
	edited := input(items(t, namespace, strings.Replace(config, "b: two", "b: three", 1)))
	edited.Admit = in.Admit
	want(t, plan.New(nil).Plan(t.Context(), edited, s), "Unchanged Namespace/web", "Update ConfigMap/web data.b:two>three")
}

// What admission makes of a new object, and where it was put, is no change of one that is
// made anew.
func TestWhatAdmissionMakesAnewIsNoChange(t *testing.T) {
	const pod = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}
spec:
  containers: [{name: app, image: "app:1"}]
`
	const claim = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: web, namespace: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 2Gi}}
`
	s := memstore.New()
	carryOut(t, s, plan.New(nil).Plan(t.Context(), input(items(t, namespace, pod, claim)), s))
	admit := func(obj object.Object) {
		switch obj := obj.(type) {
		case *corev1.Pod:
			obj.Spec.Tolerations = []corev1.Toleration{{Key: "by", Operator: corev1.TolerationOpExists}}
		case *corev1.PersistentVolumeClaim:
			obj.Spec.StorageClassName = new("by-admission")
		}
	}
	for _, kind := range []string{"Pod", "PersistentVolumeClaim"} {
		key := object.Key{Namespace: "web", Name: "web"}
		key.Kind = kind
		if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{change.Patch(key, func(obj object.Object) bool {
			admit(obj)
			switch obj := obj.(type) {
			case *corev1.Pod:
				obj.Spec.NodeName = "n1"
			case *corev1.PersistentVolumeClaim:
				obj.Spec.VolumeName = "pv-1"
			}
			return true
		})}}); err != nil {
			t.Fatal(err)
		}
	}
	in := input(items(t, namespace, strings.Replace(pod, "spec:", "spec:\n  hostname: other", 1), strings.Replace(claim, "2Gi", "1Gi", 1)))
	in.Admit = func(next, live object.Object) (object.Object, bool) {
		if live != nil {
			return nil, true
		}
		next = next.DeepCopyObject().(object.Object)
		admit(next)
		return next, true
	}
	res := plan.New(nil).Plan(t.Context(), in, s)
	want(t, res, "Unchanged Namespace/web", "Update PersistentVolumeClaim/web spec.resources.requests.storage:2Gi>1Gi",
		"Update Pod/web spec.hostname:<nil>>other restart")
	// What admission makes of all that Git asks for is no reason to make it anew.
	stubborn := in
	stubborn.Admit = func(next, live object.Object) (object.Object, bool) {
		made, known := in.Admit(next, live)
		switch obj := made.(type) {
		case *corev1.Pod:
			obj.Spec.Hostname = ""
		case *corev1.PersistentVolumeClaim:
			obj.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("2Gi")
		}
		return made, known
	}
	p := plan.New(nil)
	for range 2 {
		want(t, p.Plan(t.Context(), stubborn, s), "Unchanged Namespace/web", "Unchanged PersistentVolumeClaim/web", "Unchanged Pod/web")
	}
	stubborn.Admit = func(_, _ object.Object) (object.Object, bool) { return nil, false }
	want(t, p.Plan(t.Context(), stubborn, s), "Unchanged Namespace/web", "Unchanged PersistentVolumeClaim/web", "Unchanged Pod/web")
	for _, a := range res.Actions[1:] {
		if pod, ok := a.Object.(*corev1.Pod); !a.Recreate || ok && (pod.Spec.NodeName != "" || len(pod.Spec.Tolerations) > 0) {
			t.Errorf("%s is %+v, want what Git declares, made anew", a.Key, a)
		}
	}
}
