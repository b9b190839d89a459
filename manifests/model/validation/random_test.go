package validation_test

import (
	"math/rand"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/randfill"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

// Objects with anything in every field go through the rules without a panic,
// and writing what is stored changes nothing.
func TestRandomObjects(t *testing.T) {
	schemas := func(serializer.CodecFactory) []any {
		// A schema contains schemas, without an end.
		return []any{func(s *apiextensionsv1.JSONSchemaProps, c randfill.Continue) {
			c.Fill(&s.Type)
			c.Fill(&s.Format)
			c.Fill(&s.Required)
			c.Fill(&s.XValidations)
			c.Fill(&s.XListType)
			if c.Bool() {
				s.Properties = map[string]apiextensionsv1.JSONSchemaProps{"a": {Type: c.String(4)}}
			}
		}}
	}
	fill := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, schemas), rand.NewSource(1), scheme.Codecs)
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
