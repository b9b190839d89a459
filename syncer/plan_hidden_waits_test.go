package syncer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// A plan does not depend on what a commit would wait for and its caller may not
// read: whether it is there, is ready or healthy, and who declares it.
func TestPlanIsNoOracleOfWhatIsWaitedFor(t *testing.T) {
	w := newWorldWith(t, map[string]string{"apps/a.yaml": configMap("a", "one")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./apps" }, func(c *syncer.Config) { c.Access = viewer{} })
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	child := strings.Replace(childOf("child", ", targetNamespace: default}"), "namespace: headway-system", "namespace: other", 1)
	child = strings.Replace(child, "name: cluster}", "name: cluster, namespace: headway-system}", 1)
	files := map[string]string{
		"apps/tries.yaml": strings.Join([]string{
			childOf("waits", `, dependsOn: [{name: dep, namespace: other}, {name: custom, namespace: other, readyExpr: "dep.status.observedGeneration == 1"}]}`),
			childOf("checks", `, healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: web, namespace: other}, {apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, name: dep, namespace: other}]}`),
			childOf("judges", `, wait: true, healthCheckExprs: [{apiVersion: apps/v1, kind: Deployment, current: "status.readyReplicas == 1", failed: "status.replicas == 7"}]}`),
			childOf("follows", `, dependsOn: [{name: waits}]}`),
			child,
		}, "---\n"),
		"tries/waits/a.yaml": configMap("waits", "x"), "tries/checks/a.yaml": configMap("checks", "x"), "tries/follows/a.yaml": configMap("follows", "x"),
		"tries/child/a.yaml": configMap("child", "x"), "tries/judges/a.yaml": configMap("judges", "x"),
	}
	w.branch("tries", files)
	files["apps/bad.yaml"] = "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: default}\nspec: {ports: [{port: 123456}]}\n"
	w.branch("refused", files)
	revisions := map[string]string{"tries": "", "refused": ""}
	plan := func(rev string) string {
		t.Helper()
		all, err := w.sync.Plan(rights.WithUser(t.Context(), rights.User{Name: "ci"}), wire.PlanRequest{Source: "headway-system/cluster", Rev: rev})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all.Errors {
			if rev == "tries" {
				t.Errorf("a fault: %s", e.Message)
			}
		}
		raw, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	for rev := range revisions {
		revisions[rev] = plan(rev)
		for _, want := range []string{"you may not read other/dep: whether the Kustomization would wait for it is not known", "you may not read other/custom: whether"} {
			if !strings.Contains(revisions[rev], want) {
				t.Errorf("the plan of %s does not say %q:\n%s", rev, want, revisions[rev])
			}
		}
	}
	if !strings.Contains(revisions["refused"], "headway-system/cluster, which declares this one, would be refused") {
		t.Errorf("the plan does not say that the children wait:\n%s", revisions["refused"])
	}
	same := func(what string) {
		t.Helper()
		for rev, without := range revisions {
			if now := plan(rev); now != without {
				t.Errorf("the plan of %s tells %s:\n%s\nwithout it:\n%s", rev, what, now, without)
			}
		}
	}
	for _, name := range []string{"dep", "custom", "child"} {
		w.create(&kustomizev1.Kustomization{
			ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: name},
			Spec: kustomizev1.KustomizationSpec{
				Interval: metav1.Duration{Duration: time.Hour}, Path: "./none", Suspend: true,
				SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster", Namespace: "headway-system"},
			},
		})
		same("that there is a Kustomization " + name)
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse} {
		for _, name := range []string{"dep", "custom", "child"} {
			w.commit(change.PatchStatus(key("Kustomization", "other", name), func(o object.Object) bool {
				ks, ok := o.(*kustomizev1.Kustomization)
				if ok {
					ks.Status.ObservedGeneration = ks.Generation
					ks.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: status, Reason: "Test", LastTransitionTime: metav1.Now()}}
				}
				return ok
			}))
		}
		same("that others are ready: " + string(status))
	}
	replicas := int32(1)
	labels := map[string]string{"a": "b"}
	w.create(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}},
	}})
	same("that there is a Deployment")
	for _, status := range []appsv1.DeploymentStatus{
		{ObservedGeneration: 1, Replicas: 1, ReadyReplicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1},
		{ObservedGeneration: 1, Replicas: 7, UnavailableReplicas: 7},
	} {
		w.commit(change.PatchStatus(key("Deployment", "other", "web"), func(o object.Object) bool {
			d, ok := o.(*appsv1.Deployment)
			if ok {
				d.Status = status
			}
			return ok
		}))
		same("how a Deployment is")
	}
}
