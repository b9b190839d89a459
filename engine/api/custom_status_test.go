package api_test

import (
	"net/http"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

// Webhooks and the audit log see a definition whose status is written as it is stored,
// with its schemas, which the controllers that write it do not have.
func TestStatusOfDefinitionsIsWhole(t *testing.T) {
	option, log := auditLog(t, "- {level: Request, resources: [{group: apiextensions.k8s.io, resources: [customresourcedefinitions/status]}]}\n")
	s := apitest.Start(t, option)
	h := newHook(t, allow)
	of := h.mutating(func(w *admissionregistrationv1.MutatingWebhook) {
		w.Rules = []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Update},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{"apiextensions.k8s.io"}, APIVersions: []string{"v1"}, Resources: []string{"customresourcedefinitions/status"},
			},
		}}
	})
	client := kubernetes.NewForConfigOrDie(s.Config)
	if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), of, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c := custom{s, t}
	const field = "only-in-the-schema"
	c.run(defined("seen", schemaOf(`{"type":"object","properties":{"`+field+`":{"type":"string"}}}`)), "create", "-f", "-")
	c.condition("seen.hostile.example", "Established")
	c.run("", "delete", "crd", "seen.hostile.example") // a finalizer goes by the status, too

	h.mu.Lock()
	asked := h.asked
	h.mu.Unlock()
	if len(asked) < 3 {
		t.Errorf("the webhook was asked %d times, want at least for the names, the establishment and the deletion", len(asked))
	}
	for _, r := range asked {
		if !strings.Contains(string(r.Object.Raw), field) || !strings.Contains(string(r.OldObject.Raw), field) {
			t.Errorf("the webhook sees %s\nin place of %s", r.Object.Raw, r.OldObject.Raw)
		}
	}
	s.Stop()
	logged := 0
	for _, e := range auditEvents(t, log) {
		if e.RequestObject == nil || e.ResponseStatus.Code != http.StatusOK {
			continue
		}
		logged++
		if !strings.Contains(string(e.RequestObject.Raw), field) {
			t.Errorf("the audit log has %s", e.RequestObject.Raw)
		}
	}
	if logged < 3 {
		t.Errorf("the audit log has %d writes", logged)
	}
}
