package syncer_test

import (
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const metricsAPI = `apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata:
  name: v1.metrics.example.com
spec:
  group: metrics.example.com
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 10
  insecureSkipTLSVerify: true
  service: {namespace: default, name: metrics}
`

// A commit brings an API and the Service behind it; it is healthy once the API is
// available, and the API goes with what declares it. No commit takes over a group of
// Headway's own.
func TestAPIServiceInACommit(t *testing.T) {
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: metrics}\nspec: {ports: [{port: 443}]}\n"
	w := newWorld(t, map[string]string{"service.yaml": service, "api.yaml": metricsAPI}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.Wait = true
	})
	head := git(t, w.work, "rev-parse", "HEAD")
	key := object.Key{GroupKind: apiregistrationv1.SchemeGroupVersion.WithKind("APIService").GroupKind(), Name: "v1.metrics.example.com"}
	w.eventually("the API is waited for", func() bool {
		s, ok := w.store.Get(key).(*apiregistrationv1.APIService)
		return ok && *s.Spec.Service.Port == 443 && strings.HasPrefix(w.ready("Kustomization"), "Unknown Progressing")
	})
	w.commit(change.PatchStatus(key, func(obj object.Object) bool {
		helper.SetAPIServiceCondition(obj.(*apiregistrationv1.APIService), apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Passed"})
		return true
	}))
	w.applied(head)

	w.write(map[string]string{"api.yaml": strings.NewReplacer("v1.metrics.example.com", "v1.apps", "group: metrics.example.com", "group: apps").Replace(metricsAPI)})
	w.push("take over apps")
	w.eventually("the commit is refused", func() bool {
		return strings.Contains(w.ready("Kustomization"), "api.yaml:11: APIService v1.apps: spec.service: Forbidden: Headway serves apps itself")
	})

	w.write(map[string]string{"api.yaml": configMap("instead", "of it")})
	w.applied(w.push("no API"))
	if w.store.Get(key) != nil {
		t.Error("the API is still there")
	}
}
