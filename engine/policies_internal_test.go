package engine

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/policy"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodepolicy"
)

// A node is told everything, and then what changes, each time as of the store's revision.
func TestPoliciesOfANode(t *testing.T) {
	var index policy.Index
	server := httptest.NewServer(servePolicies(&index, func(w http.ResponseWriter, r *http.Request, node string) bool {
		if r.Header.Get("Node") == node {
			return true
		}
		http.Error(w, "another", http.StatusForbidden)
		return false
	}))
	t.Cleanup(server.Close) // after the streams are closed
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u1"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	index.Observe([]object.Event{{Type: object.Added, Key: object.KeyOf(schema.GroupKind{Kind: "Pod"}, pod), Object: pod, Revision: 3}})

	get := func(method, path string) (int, io.Reader) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Node", "n1")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = answer.Body.Close() })
		return answer.StatusCode, answer.Body
	}
	for path, want := range map[string]int{nodepolicy.Prefix: 404, nodepolicy.Prefix + "a/b" + nodepolicy.Suffix: 404, nodepolicy.Prefix + "n1": 404} {
		if got, _ := get(http.MethodGet, path); got != want {
			t.Errorf("GET %s is answered %d, want %d", path, got, want)
		}
	}
	if got, _ := get(http.MethodPost, nodepolicy.Path("n1")); got != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered %d", got)
	}
	if got, _ := get(http.MethodGet, nodepolicy.Path("n2")); got != http.StatusForbidden {
		t.Errorf("another is answered %d", got)
	}
	_, body := get(http.MethodGet, nodepolicy.Path("n1"))
	stream := json.NewDecoder(body)
	next := func() (c nodepolicy.Change) {
		t.Helper()
		if err := stream.Decode(&c); err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := next(); !c.Reset || c.Revision != 3 || c.Pods["u1"] == nil || c.Pods["u1"].Ingress != "" {
		t.Fatalf("the first change is %+v", c)
	}
	deny := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "deny"},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
	index.Observe([]object.Event{{Type: object.Added, Key: object.KeyOf(schema.GroupKind{Group: networkingv1.GroupName, Kind: "NetworkPolicy"}, deny), Object: deny, Revision: 4}})
	c := next()
	if c.Reset || c.Revision != 4 || c.Pods["u1"] == nil || c.Profiles[c.Pods["u1"].Ingress] == nil {
		t.Fatalf("the change after the policy is %+v", c)
	}
}
