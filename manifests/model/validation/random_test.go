package validation_test

import (
	"math/rand"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

// Objects with anything in every field go through the rules without a panic,
// and writing what is stored changes nothing.
func TestRandomObjects(t *testing.T) {
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), scheme.Codecs)
	for _, k := range scheme.Kinds() {
		for range 100 {
			old, obj := k.New(), k.New()
			for _, o := range []object.Object{old, obj} {
				fill.Fill(o)
				o.SetName("a")
				o.SetNamespace("b")
				o.SetUID("")
				o.SetResourceVersion("")
			}
			old.SetFinalizers([]string{"a/b"})
			stored, err := change.Create(old, time.Unix(0, 0)).Mutate(nil)
			if err != nil {
				t.Fatal(err)
			}
			validation.Create(stored)
			next, err := change.Update(obj).Mutate(stored)
			if err != nil {
				t.Fatal(err)
			}
			validation.Update(next, stored)
			validation.UpdateStatus(next, stored)
			again, err := change.Update(next.DeepCopyObject().(object.Object)).Mutate(next)
			if err != nil || again != next {
				t.Errorf("%s: writing what is stored is a change: %v", k.Kind, err)
				break
			}
		}
	}
}
