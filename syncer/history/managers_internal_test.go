package history

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestManagersOwn(t *testing.T) {
	for _, tt := range []struct {
		name, fields, path string
		want               bool
	}{
		{"the field", `{"f:spec":{"f:replicas":{}}}`, "spec.replicas", true},
		{"another", `{"f:spec":{"f:replicas":{}}}`, "spec.paused", false},
		{"a part", `{"f:spec":{"f:template":{"f:spec":{"f:hostNetwork":{}}}}}`, "spec.template", true},
		{"the whole", `{"f:spec":{"f:selector":{}}}`, "spec.selector.matchLabels.app", true},
		{"a map and one of its keys", `{"f:data":{".":{},"f:one":{}}}`, "data.two", false},
		{"a name with dots", `{"f:metadata":{"f:annotations":{"f:a.example/b":{}}}}`, "metadata.annotations[a.example/b]", true},
		{"half of a name with dots", `{"f:metadata":{"f:annotations":{"f:a.example/b":{}}}}`, "metadata.annotations[a.example/bc]", false},
		{"a key with dots", `{"f:data":{"f:app.conf":{}}}`, "data[app.conf]", true},
		{"an item", `{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{}}}}}`, "spec.containers[name=web].image", true},
		{"an item's other field", `{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{}}}}}`, "spec.containers[name=web].command", false},
		{"another item", `{"f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:image":{}}}}}`, "spec.containers[name=db].image", false},
		{"an item by one of two keys", `{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:hostPort":{}}}}`, "ports[containerPort=80].hostPort", true},
		{"an item by both keys", `{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:hostPort":{}}}}`, "ports[containerPort=80,protocol=TCP].hostPort", true},
		{"an item by another key", `{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:hostPort":{}}}}`, "ports[containerPort=80,protocol=UDP].hostPort", false},
		{"a value of a set", `{"f:metadata":{"f:finalizers":{"v:\"a\"":{}}}}`, "metadata.finalizers", true},
		{"nothing", `{}`, "spec", false},
		{"no JSON", `{"f:spec`, "spec", false},
		{"no set of fields", `{"spec":{}}`, "spec", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "broken", FieldsType: "FieldsV1"}, {Manager: "it", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(tt.fields)},
			}}}
			got := false
			for _, m := range ManagersOf(obj) {
				got = got || m.Name == "it" && m.Owns(tt.path)
			}
			if got != tt.want {
				t.Errorf("%s owns %s: %v, want %v", tt.fields, tt.path, got, tt.want)
			}
		})
	}
}
