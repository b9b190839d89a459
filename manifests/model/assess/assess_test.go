package assess_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
)

// cluster is a state to judge against.
type cluster []object.Object

func (c cluster) Get(key object.Key) object.Object {
	for _, o := range c {
		if k, err := scheme.KeyOf(o); err == nil && k == key {
			return o
		}
	}
	return nil
}

func (c cluster) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	var out []object.Object
	for _, o := range c {
		if o.GetObjectKind().GroupVersionKind().GroupKind() == kind && (namespace == "" || o.GetNamespace() == namespace) {
			out = append(out, o)
		}
	}
	return out, 1
}

// Each file of testdata/*.txtar is a case: the object to judge first, then the
// rest of the cluster; "# want: Status: message" is the expectation.
func TestOf(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+f.Name, func(t *testing.T) {
				first, _, _ := bytes.Cut(f.Data, []byte("\n"))
				want, ok := strings.CutPrefix(string(first), "# want: ")
				if !ok {
					t.Fatalf("%s: the first line is %q", f.Name, first)
				}
				items, err := load.Bytes(f.Name, f.Data)
				if err != nil {
					t.Fatal(err)
				}
				var c cluster
				for _, it := range items {
					c = append(c, it.Object)
				}
				r := assess.Of(c[0], c)
				if d := cmp.Diff(want, string(r.Status)+": "+r.Message); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
				// Without a reader the status must be the same.
				if got := assess.Of(c[0], nil); got.Status != r.Status {
					t.Errorf("without a reader: %s, want %s", got.Status, r.Status)
				}
			})
		}
	}
}

func TestMissing(t *testing.T) {
	if got := assess.Of(nil, cluster{}); got.Status != health.NotFound {
		t.Errorf("Of(nil) = %v", got)
	}
}
