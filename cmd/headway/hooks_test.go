package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/manifests/model/object"
)

// hookManifest is a webhook for the ConfigMaps of Git that ask for it.
const hookManifest = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: hook}
webhooks:
- name: rewrite.hook.example
  clientConfig: {url: %q, caBundle: %s}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE]}]
  objectSelector: {matchLabels: {hook: "yes"}}
  sideEffects: None
  admissionReviewVersions: [v1]
`

// A webhook that is declared in Git is in force for later commits. An object in
// which it replaces what Git has comes to rest: neither a sync nor a plan takes it
// for a difference. What it refuses is told with file and line.
func TestWebhookFromGit(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: review.Request.Name != "bad",
			Patch: []byte(`[{"op": "replace", "path": "/data/key", "value": "by the webhook"}]`), PatchType: new(admissionv1.PatchTypeJSONPatch),
		}
		if !review.Response.Allowed {
			review.Response.Patch, review.Response.PatchType = nil, nil
		}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	s := newStory(t, map[string]string{"hook.yaml": fmt.Sprintf(hookManifest, server.URL, base64.StdEncoding.EncodeToString(ca))}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))

	const hooked = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default, labels: {hook: \"yes\"}}\ndata: {key: by Git}\n"
	s.deployed(s.push(map[string]string{"good.yaml": fmt.Sprintf(hooked, "good")}))
	key := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "good"}
	stored := s.Cluster.Engine.Store().Get(key).(*corev1.ConfigMap)
	if stored.Data["key"] != "by the webhook" {
		t.Fatalf("stored %v", stored.Data)
	}
	s.must(cli.ExitOK, "plan")
	s.must(cli.ExitOK, "sync")
	// A commit that changes another field leaves it so, and shows that field alone.
	s.deployed(s.push(map[string]string{"good.yaml": strings.Replace(fmt.Sprintf(hooked, "good"), "by Git}", "by Git, more: x}", 1)}))
	if now := s.Cluster.Engine.Store().Get(key).(*corev1.ConfigMap); now.Data["key"] != "by the webhook" || now.Data["more"] != "x" {
		t.Errorf("stored %v", now.Data)
	}
	s.must(cli.ExitOK, "plan")

	const refused = `bad.yaml:1: ConfigMap default/bad: admission webhook "rewrite.hook.example" denied the request`
	s.repo.Push("main", map[string]string{"bad.yaml": fmt.Sprintf(hooked, "bad")})
	if code, out, errOut := s.headway("sync"); code != cli.ExitFailed || !strings.Contains(out+errOut, refused) {
		t.Errorf("sync: exit code %d, want %s\n%s%s", code, refused, out, errOut)
	}
}
