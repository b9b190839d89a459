package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
)

// operations are kinds with what is done to them: the spec (and whatever else) of an
// object, a merge patch, and the status that it is given, if it has one.
var operations = []struct {
	resource, kind, rest, patch, status string
}{
	{"v1 podtemplates", "PodTemplate", `template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}`, `{"template":{"spec":{"terminationGracePeriodSeconds":7}}}`, ""},
	{"v1 limitranges", "LimitRange", `spec: {limits: [{type: Container, max: {cpu: "1"}}]}`, `{"spec":{"limits":[{"type":"Container","max":{"cpu":"2"}}]}}`, ""},
	{"v1 resourcequotas", "ResourceQuota", `spec: {hard: {pods: "3", requests.cpu: "1"}}`, `{"spec":{"hard":{"pods":"4"}}}`, `{"hard":{"pods":"9"},"used":{"pods":"1"}}`},
	{"v1 endpoints", "Endpoints", `subsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 80}]}]`, `{"subsets":[{"addresses":[{"ip":"192.0.2.8"}],"ports":[{"port":81}]}]}`, ""},
	{"v1 configmaps", "ConfigMap", `data: {a: b}`, `{"data":{"a":"c"}}`, ""},
	{"v1 serviceaccounts", "ServiceAccount", `automountServiceAccountToken: false`, `{"automountServiceAccountToken":true}`, ""},
	{"v1 nodes", "Node", `spec: {unschedulable: true}`, `{"spec":{"taints":[{"key":"mine","effect":"NoSchedule"}]}}`, `{"conditions":[{"type":"Mine","status":"True","reason":"E2E"}]}`},
	{"apps/v1 controllerrevisions", "ControllerRevision", "revision: 1\ndata: {a: b}", `{"revision":2}`, ""},
	{"batch/v1 cronjobs", "CronJob", `spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: c, image: i}]}}}}}`, `{"spec":{"suspend":true}}`, `{"lastScheduleTime":"2026-01-02T03:04:05Z"}`},
	{"batch/v1 jobs", "Job", `spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}`, `{"spec":{"parallelism":2}}`, `{"conditions":[{"type":"Mine","status":"True","reason":"E2E"}]}`},
	{"policy/v1 poddisruptionbudgets", "PodDisruptionBudget", `spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}`, `{"spec":{"minAvailable":"60%"}}`, `{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":1,"desiredHealthy":1,"expectedPods":1,"disruptedPods":{"web":"2026-01-02T03:04:05Z"}}`},
	{"networking.k8s.io/v1 networkpolicies", "NetworkPolicy", `spec: {podSelector: {matchLabels: {a: b}}}`, `{"spec":{"policyTypes":["Egress"]}}`, ""},
	{"networking.k8s.io/v1 ingresses", "Ingress", `spec: {defaultBackend: {service: {name: a, port: {number: 80}}}}`, `{"spec":{"ingressClassName":"b"}}`, `{"loadBalancer":{"ingress":[{"ip":"169.1.1.1"}]}}`},
	{"networking.k8s.io/v1 ingressclasses", "IngressClass", `spec: {controller: example.com/controller}`, `{"spec":{"parameters":{"kind":"Settings","name":"a","scope":"Cluster"}}}`, ""},
	{"node.k8s.io/v1 runtimeclasses", "RuntimeClass", `handler: runc`, `{"scheduling":{"nodeSelector":{"a":"b"}}}`, ""},
	{"scheduling.k8s.io/v1 priorityclasses", "PriorityClass", "value: 7", `{"description":"another"}`, ""},
	{"discovery.k8s.io/v1 endpointslices", "EndpointSlice", `addressType: IPv4`, `{"ports":[{"name":"a","port":80,"protocol":"TCP"}]}`, ""},
	{"coordination.k8s.io/v1 leases", "Lease", `spec: {holderIdentity: a}`, `{"spec":{"holderIdentity":"b"}}`, ""},
}

// TestOperations: what clients do to objects of each kind, as the conformance tests of
// Kubernetes do it: create, watch, get, list by a label in all namespaces, patch, replace,
// the same for the status, and delete them, one and all.
func TestOperations(t *testing.T) {
	s := apitest.Start(t)
	config := rest.CopyConfig(s.Config)
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range operations {
		t.Run(tc.kind, func(t *testing.T) {
			version, resource, _ := strings.Cut(tc.resource, " ")
			group, err := schema.ParseGroupVersion(version)
			if err != nil {
				t.Fatal(err)
			}
			everywhere := client.Resource(group.WithResource(resource))
			var api dynamic.ResourceInterface = everywhere
			if !slices.Contains([]string{"Node", "RuntimeClass", "PriorityClass", "IngressClass"}, tc.kind) {
				api = everywhere.Namespace("default")
			}
			object := func(name string) *unstructured.Unstructured {
				t.Helper()
				obj := &unstructured.Unstructured{}
				text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, labels: {made: for-%s}}\n%s\n", version, tc.kind, name, resource, tc.rest)
				if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
					t.Fatal(err)
				}
				return obj
			}
			made := metav1.ListOptions{LabelSelector: "made=for-" + resource}
			watching, err := everywhere.Watch(t.Context(), made)
			if err != nil {
				t.Fatal(err)
			}
			defer watching.Stop()
			follow := func(typ watch.EventType, obj *unstructured.Unstructured) {
				t.Helper()
				for {
					select {
					case ev, ok := <-watching.ResultChan():
						if !ok {
							t.Fatal("the watch ended")
						}
						got, isObject := ev.Object.(*unstructured.Unstructured)
						if isObject && ev.Type == typ && (typ == watch.Deleted || got.GetResourceVersion() == obj.GetResourceVersion()) {
							return
						}
					case <-time.After(time.Minute):
						t.Fatalf("nobody was told that %s was %s", obj.GetName(), typ)
					}
				}
			}

			obj, err := api.Create(t.Context(), object("one"), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			follow(watch.Added, obj)
			if got, err := api.Get(t.Context(), "one", metav1.GetOptions{}); err != nil || !cmp.Equal(got.Object, obj.Object) {
				t.Errorf("what is read is not what was created (-created +read):\n%s, %v", cmp.Diff(obj.Object, got.Object), err)
			}
			if list, err := everywhere.List(t.Context(), made); err != nil || len(list.Items) != 1 || list.Items[0].GetUID() != obj.GetUID() {
				t.Errorf("the list of what was created is %v, %v", list, err)
			}
			patched, err := api.Patch(t.Context(), "one", types.MergePatchType, []byte(tc.patch), metav1.PatchOptions{})
			if err != nil {
				t.Fatal(err)
			}
			contains(t, patched.Object, tc.patch)
			follow(watch.Modified, patched)
			patched.SetAnnotations(map[string]string{"replaced": "true"})
			replaced, err := api.Update(t.Context(), patched, metav1.UpdateOptions{})
			if err != nil || replaced.GetAnnotations()["replaced"] != "true" {
				t.Fatalf("replaced: %v, %v", replaced, err)
			}
			follow(watch.Modified, replaced)
			if tc.status != "" {
				operateOnStatus(t, api, tc.status, follow)
			}
			if err := api.Delete(t.Context(), "one", metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}); err != nil {
				t.Fatal(err)
			}
			follow(watch.Deleted, replaced)
			if _, err := api.Get(t.Context(), "one", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("after it was deleted: %v", err)
			}
			for _, name := range []string{"two", "three"} {
				if _, err := api.Create(t.Context(), object(name), metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			others := object("stays")
			others.SetLabels(nil)
			if _, err := api.Create(t.Context(), others, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := api.DeleteCollection(t.Context(), metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}, made); err != nil {
				t.Fatal(err)
			}
			list, err := everywhere.List(t.Context(), made)
			_, stays := api.Get(t.Context(), "stays", metav1.GetOptions{})
			if err := errors.Join(err, stays); err != nil || len(list.Items) > 0 {
				t.Errorf("after a collection was deleted: %d are left, %v", len(list.Items), err)
			}
		})
	}
}

// operateOnStatus patches and replaces a status, by which nothing of the spec changes.
func operateOnStatus(t *testing.T, api dynamic.ResourceInterface, status string, follow func(watch.EventType, *unstructured.Unstructured)) {
	t.Helper()
	before, err := api.Get(t.Context(), "one", metav1.GetOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"patched":"true"}},"spec":{"suspend":false,"parallelism":9,"minAvailable":9,"unschedulable":false,"hard":{"pods":"99"}},"status":%s}`, status)
	patched, err := api.Patch(t.Context(), "one", types.MergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	follow(watch.Modified, patched)
	contains(t, patched.Object, `{"status":`+status+`,"metadata":{"annotations":{"patched":"true"}}}`)
	if diff := cmp.Diff(before.Object["spec"], patched.Object["spec"]); diff != "" {
		t.Errorf("a status changed the spec:\n%s", diff)
	}
	patched.SetAnnotations(map[string]string{"patched": "again"})
	delete(patched.Object, "spec")
	replaced, err := api.UpdateStatus(t.Context(), patched, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	follow(watch.Modified, replaced)
	contains(t, replaced.Object, `{"status":`+status+`,"metadata":{"annotations":{"patched":"again"}}}`)
	if diff := cmp.Diff(before.Object["spec"], replaced.Object["spec"]); diff != "" {
		t.Errorf("a status that was replaced changed the spec:\n%s", diff)
	}
}

// contains checks that an object has what a merge patch says.
func contains(t *testing.T, obj map[string]any, patch string) {
	t.Helper()
	var want map[string]any
	if err := json.Unmarshal([]byte(patch), &want); err != nil {
		t.Fatal(err)
	}
	var within func(path string, got, want any)
	within = func(path string, got, want any) {
		t.Helper()
		if fields, ok := want.(map[string]any); ok {
			has, _ := got.(map[string]any)
			for name, value := range fields {
				within(path+"."+name, has[name], value)
			}
			return
		}
		if list, ok := want.([]any); ok {
			has, _ := got.([]any)
			for i, value := range list {
				if i >= len(has) {
					t.Errorf("%s is %v, want %v", path, got, want)
					return
				}
				within(fmt.Sprintf("%s[%d]", path, i), has[i], value)
			}
			return
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	within("", obj, want)
}
