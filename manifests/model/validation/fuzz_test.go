package validation_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

// FuzzObject takes whatever decodes through defaults, validation and the
// verbs: none of it may panic, and a second default must change nothing.
func FuzzObject(f *testing.F) {
	for _, manifest := range []string{basePod, baseDeployment, baseService, cm} {
		data, err := yaml.YAMLToJSON([]byte(manifest))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, data)
	}
	for _, k := range scheme.Kinds() {
		obj := k.New()
		obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
		obj.SetName("a")
		data, err := yaml.Marshal(obj)
		if err != nil {
			f.Fatal(err)
		}
		if data, err = yaml.YAMLToJSON(data); err != nil {
			f.Fatal(err)
		}
		f.Add(data, data)
	}
	f.Fuzz(func(t *testing.T, before, after []byte) {
		old, ok := decode(before)
		obj, also := decode(after)
		if !ok || !also || old.GetObjectKind().GroupVersionKind() != obj.GetObjectKind().GroupVersionKind() {
			return
		}
		old.SetName("a")
		obj.SetName("a")
		obj.SetNamespace(old.GetNamespace())
		obj.SetUID("")
		obj.SetResourceVersion("")
		stored, err := change.Create(old, time.Unix(0, 0)).Mutate(nil)
		if err != nil {
			t.Fatal(err)
		}
		validation.Create(stored)
		next, err := change.Update(obj).Mutate(stored)
		if err != nil {
			t.Fatal(err)
		}
		if next == nil {
			return
		}
		validation.Update(next, stored)
		validation.UpdateStatus(next, stored)
		again, err := change.Update(next.DeepCopyObject().(object.Object)).Mutate(next)
		if err != nil || again != next {
			t.Errorf("writing what is stored is a change: %v", err)
		}
	})
}

func decode(data []byte) (object.Object, bool) {
	decoded, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), data)
	if err != nil {
		return nil, false
	}
	obj, ok := decoded.(object.Object)
	if !ok {
		return nil, false
	}
	_, err = scheme.KeyOf(obj)
	return obj, err == nil
}
