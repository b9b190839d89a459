package syncer_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A resize of a Pod that Git declares becomes a commit, which resizes it: the update
// alone could not.
func TestResizeBecomesACommit(t *testing.T) {
	const pod = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  containers:
  - {name: app, image: "app:1", resources: {requests: {cpu: 100m}, limits: {cpu: 200m}}}
`
	w := newWorld(t, map[string]string{"web.yaml": pod}, writesCommit)
	before := w.main()
	w.applied(before)
	err := w.hand(change.Request{User: "ada"}, key("Pod", "default", "web"), func(o object.Object) {
		o.(*corev1.Pod).Spec.Containers[0].Resources.Limits[corev1.ResourceCPU] = resource.MustParse("300m")
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := git(t, w.bare, "show", "main:web.yaml"); w.main() == before || got != strings.TrimSpace(strings.Replace(pod, "cpu: 200m", "cpu: 300m", 1)) {
		t.Errorf("main is at %s, web.yaml is %q", w.main(), got)
	}
	stored, ok := w.store.Get(key("Pod", "default", "web")).(*corev1.Pod)
	if !ok || stored.Spec.Containers[0].Resources.Limits.Cpu().String() != "300m" || stored.Generation != 2 {
		t.Errorf("the pod is %v", stored)
	}
}
