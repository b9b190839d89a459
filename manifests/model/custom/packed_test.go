package custom_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"headway.dev/manifests/model/custom"
)

// widgets is a definition of which each field is described, in two versions; title is
// that of its schemas.
func widgets(tb testing.TB, title string) *apiextensionsv1.CustomResourceDefinition {
	tb.Helper()
	var fields strings.Builder
	for i := range 50 {
		fmt.Fprintf(&fields, `,"field%d":{"type":"array","description":"What the field is for.","items":{"type":"object","properties":{"name":{"type":"string","default":"x","enum":["x","y"]}}},"x-kubernetes-list-type":"atomic"}`, i)
	}
	schema := fmt.Sprintf(`{"openAPIV3Schema":{"type":"object","title":%q,"properties":{"spec":{"type":"object","properties":{"a":{"x-kubernetes-int-or-string":true}%s}}}}}`, title, fields.String())
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal([]byte(`{"metadata":{"name":"widgets.example.com","resourceVersion":"7","annotations":{"a":"b"}},
"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList"},
"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{}},"schema":`+schema+`},{"name":"v1beta1","served":true,"schema":`+schema+`},{"name":"v0"}]},
"status":{"storedVersions":["v1"]}}`), crd); err != nil {
		tb.Fatal(err)
	}
	return crd
}

// What is packed has no schemas, and is whole again for who asks for it, also when
// nobody has had the definition for a while.
func TestPacked(t *testing.T) {
	want := widgets(t, "one")
	packed, gone := func() (*custom.Packed, weak.Pointer[apiextensionsv1.CustomResourceDefinition]) {
		crd := want.DeepCopy()
		packed := custom.Pack(crd)
		if packed.Whole() != crd {
			t.Error("there is another whole definition beside the one that is in use")
		}
		return packed, weak.Make(crd)
	}()
	head := packed.Head().(*apiextensionsv1.CustomResourceDefinition)
	if size := head.Size(); size > 1000 || head.Name != want.Name || len(head.Spec.Versions) != 3 || head.Spec.Versions[2].Schema != nil {
		t.Errorf("the head has %d bytes: %v", size, head)
	}
	for gone.Value() != nil {
		runtime.GC()
	}
	got := packed.Whole()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the definition is another one after it was packed (-want +got):\n%s", d)
	}
	if again := packed.Whole(); again != got {
		t.Error("it is unpacked twice for two who have it at the same time")
	}
	runtime.KeepAlive(got)
}

// Whether two definitions say the same of their objects is told by schemas, also if both
// are packed.
func TestSame(t *testing.T) {
	d := custom.New(widgets(t, "one"))
	runtime.GC()
	same, other := widgets(t, "one"), widgets(t, "another")
	same.ResourceVersion = "8"
	if !d.Same(same) || !d.As(custom.New(same)) {
		t.Error("another state of the same definition says something else")
	}
	if d.Same(other) || d.As(custom.New(other)) {
		t.Error("a definition with another schema says the same")
	}
	other = widgets(t, "one")
	other.Spec.Versions[1].Schema = nil
	if d.Same(other) || d.As(custom.New(other)) {
		t.Error("a definition with a schema less says the same")
	}
}
