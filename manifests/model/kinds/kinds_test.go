// Package kinds_test finds what a kind lacks.
package kinds_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/randfill"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/scheme"
)

// shared are the files of a group that are about no kind alone.
var shared = []string{"doc.go", "shared.go"}

// TestEveryFileIsServed finds files whose kind is not registered, and kinds
// that are not in a file of their name. A large kind may have more files, which
// begin with its name: pod_columns.go.
func TestEveryFileIsServed(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of kinds: %v", err)
	}
	named := map[string]int{}
	for _, file := range files {
		base := filepath.Base(file)
		if slices.Contains(shared, base) || strings.HasSuffix(base, "_test.go") {
			continue
		}
		named[fileOf(file)]++
	}
	var names []kind.Names
	for _, k := range scheme.Kinds() {
		names = append(names, k.Names)
	}
	for _, v := range scheme.Views() {
		names = append(names, v.Names)
	}
	for _, k := range names {
		group, _, _ := strings.Cut(k.Group, ".")
		if group == "" {
			group = "core"
		}
		file := filepath.Join(group, strings.ToLower(k.Kind))
		if _, err := os.Stat(file + ".go"); err != nil {
			t.Errorf("the kind %s is not in %s.go", k.GroupVersionKind, file)
		}
		delete(named, file)
	}
	for file := range named {
		t.Errorf("%s.go is there, but its kind is in no Group, or its Group is not in manifests/model/scheme", file)
	}
}

// fileOf is the name of the first file of the kind that a file is about.
func fileOf(file string) string {
	dir, base := filepath.Split(strings.TrimSuffix(file, ".go"))
	base, _, _ = strings.Cut(base, "_")
	return dir + base
}

// TestGaps finds kinds that lack a part that every kind needs.
func TestGaps(t *testing.T) {
	for _, k := range scheme.Kinds() {
		for _, gap := range gaps(k) {
			t.Errorf("%s: %s", k.GroupVersionKind, gap)
		}
	}
}

func gaps(k *kind.Kind) []string {
	var gaps []string
	need := func(ok bool, gap string) {
		if !ok {
			gaps = append(gaps, gap)
		}
	}
	need(k.Version != "" && k.Kind != "" && k.Plural != "" && k.Singular != "", "has no name")
	key, err := scheme.KeyOf(k.New())
	need(err == nil && key.GroupKind == k.GroupKind(), "is not the kind of its Go type")
	_, _, err = scheme.Scheme.ObjectKinds(k.NewList())
	need(err == nil, "has a list of no known type")
	_, hasStatus := reflect.TypeOf(k.New()).Elem().FieldByName("Status")
	need(k.Status == hasStatus, "has a status subresource exactly if its type has a status")
	need(!k.Status || k.Lifecycle.Update != nil && k.Lifecycle.UpdateStatus != nil, "has a status, and does not say what of it an update and a status update keep")
	_, own := k.Honours[reflect.TypeOf(k.New()).Elem()]
	need(own || k.Honours == nil, "says which fields have their effect, and not which of its own type")
	need(own || k.PodTemplate == nil && k.Kind != "Service", "has an agent or a proxy keep what it promises, and does not say which fields have their effect")
	// Kubernetes does not even look at the metadata of an event.
	need((k.Rules.Name != nil) != (k.Kind == "Event"), "has no rule for its name")
	need(k.Kind == "ServiceAccount" || k.Rules.Object != nil || k.Rules.Create != nil, "has no validation")
	need(k.PodTemplate == nil || k.Rules.Duplicates != nil, "makes pods, and does not look for duplicates in their lists")
	// A node is there, whatever its state.
	need(!k.Status || k.Kind == "Node" || k.Health.Of != nil, "has a status, and does not say when it is healthy")
	need(k.Order > 0, "has no place among the kinds that a commit applies")
	need((k.Rollout != nil) == (k.PodTemplate != nil), "makes pods, and does not say what comes of them when it is edited")
	need(!k.Rolls || k.Rollout != nil, "replaces pods, and does not say how")
	need(k.PodTemplate == nil || k.Health.Pods != nil, "makes pods, and does not say which run what it asks for now")
	need(k.Table.Row != nil && len(k.Table.Columns) > 0, "has no columns")
	if k.Table.Row != nil {
		need(len(k.Table.Row(k.New(), time.Now())) == len(k.Table.Columns), "has not as many cells as columns")
	}
	need((k.Fields.Read != nil) == (len(k.Fields.Names) > 0), "has no values of its selectable fields")
	if k.Fields.Read != nil {
		read := fields.Set{}
		k.Fields.Read(k.New(), read)
		for _, name := range k.Fields.Names {
			alias := k.Fields.Aliases[name]
			need(read.Has(name) || read.Has(alias), "has no value of its selectable field "+name)
		}
	}
	for _, index := range k.Fields.Indexes {
		need(slices.Contains(k.Fields.Names, index.Field), "has an index of "+index.Field+", which cannot be selected")
		if obj, read := k.New(), (fields.Set{}); k.Fields.Read != nil {
			content := map[string]any{}
			need(unstructured.SetNestedField(content, "x", strings.Split(index.Field, ".")...) == nil &&
				runtime.DefaultUnstructuredConverter.FromUnstructured(content, obj) == nil, "has an index of no field: "+index.Field)
			k.Fields.Read(obj, read)
			need(read[index.Field] == "x" && index.Value(obj) == "x", "has an index of other values than those of "+index.Field)
		}
	}
	if spec := reflect.ValueOf(k.New()).Elem().FieldByName("Spec"); spec.IsValid() {
		need(!spec.FieldByName("Template").IsValid() || k.PodTemplate != nil, "has a template of pods, and does not say where")
		need(!spec.FieldByName("Replicas").IsValid() || k.Scale != nil, "has replicas, and no scale")
		need(spec.FieldByName("Suspend").Kind() != reflect.Bool || k.Suspension != nil, "can be suspended, and does not say where")
	}
	return gaps
}

// TestOrder compares with the order in which kustomize sorts the kinds that it
// knows.
func TestOrder(t *testing.T) {
	var manifests strings.Builder
	for _, k := range slices.Backward(scheme.Kinds()) {
		fmt.Fprintf(&manifests, "---\napiVersion: %s\nkind: %s\nmetadata: {name: a}\n", k.GroupVersion(), k.Kind)
	}
	fs := filesys.MakeFsInMemory()
	for name, text := range map[string]string{
		"kustomization.yaml": "resources: [all.yaml]\nsortOptions: {order: legacy}\n", "all.yaml": manifests.String(),
	} {
		if err := fs.WriteFile(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, ".")
	if err != nil {
		t.Fatal(err)
	}
	last := kind.Order(0)
	for _, one := range found.Resources() {
		k, ok := scheme.ForKind(schema.GroupKind{Group: one.GetGvk().Group, Kind: one.GetKind()})
		if !ok {
			t.Fatalf("%s is not served", one.GetGvk())
		}
		if k.Order == kind.Anywhere || slices.Contains([]string{"DaemonSet", "Job", "Pod", "ReplicaSet", "ReplicationController", "RuntimeClass", "IngressClass", "NetworkPolicy"}, k.Kind) { // which kustomize does not know
			continue
		}
		if k.Order <= last {
			t.Errorf("kustomize sorts %s behind what has place %d, it has %d", k.Kind, last, k.Order)
		}
		last = k.Order
	}
	if last == 0 {
		t.Error("no kind has a place")
	}
}

// TestGapsAreFound shows that a kind without its parts is noticed.
func TestGapsAreFound(t *testing.T) {
	if found := gaps(&kind.Kind{New: scheme.Kinds()[0].New, NewList: scheme.Kinds()[0].NewList}); len(found) < 3 {
		t.Errorf("an empty kind has the gaps %q", found)
	}
}

// TestViews: an object is the same after it has been read in another form and
// stored again, whatever its fields are.
func TestViews(t *testing.T) {
	fill := randfill.NewWithSeed(1).NilChance(.2).NumElements(1, 3).Funcs(func(t *metav1.TypeMeta, _ randfill.Continue) { *t = metav1.TypeMeta{} })
	for _, v := range scheme.Views() {
		for range 200 {
			stored, view := v.Of.New(), v.New()
			fill.Fill(stored)
			if got := v.To(v.From(stored)); !equality.Semantic.DeepEqual(got, stored) {
				t.Fatalf("%s: stored %+v, viewed and stored again %+v", v.GroupVersionKind, stored, got)
			}
			fill.Fill(view)
			if got := v.From(v.To(view)); !equality.Semantic.DeepEqual(got, view) {
				t.Fatalf("%s: written %+v, stored and viewed %+v", v.GroupVersionKind, view, got)
			}
		}
		for label, stored := range v.Fields {
			if !slices.Contains(v.Of.Fields.Names, stored) {
				t.Errorf("%s: the field %s is said to be %s, which cannot be selected", v.GroupVersionKind, label, stored)
			}
		}
	}
}
