package storage

import (
	"reflect"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

const settledMetadata = `{"name":"a","namespace":"default","uid":"u","resourceVersion":"7","generation":2,"creationTimestamp":"2026-11-30T00:00:00Z",
"labels":{"a":"","b":"c"},"annotations":{"d":"e"},"finalizers":["example.com/f"],"deletionTimestamp":"2026-11-30T00:00:01Z","deletionGracePeriodSeconds":0,
"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"b","uid":"w","controller":true,"blockOwnerDeletion":false}],
"managedFields":[{"manager":"m","operation":"Apply","apiVersion":"v1","time":"2026-11-30T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{".":{},"f:a":{}}},"subresource":"status"}]}`

// The library decodes and encodes settled metadata as it is.
func FuzzSettled(f *testing.F) {
	for _, text := range []string{
		settledMetadata,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T01:00:00+01:00"}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T01:00:00.5Z"}`,
		`{"name":"a","generation":1,"creationTimestamp":null}`,
		`{"name":"","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z"}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z","labels":{}}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z","labels":{"a":1}}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z","other":"x"}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z","ownerReferences":[{"apiVersion":"v1","kind":"a","name":"b"}]}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z","managedFields":[{"fieldsV1":{"a":0.5,"b":null}},{}]}`,
		`{"name":"a","generation":1,"creationTimestamp":"2026-11-30T00:00:00Z","finalizers":[""],"deletionGracePeriodSeconds":9007199254740993}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var meta map[string]any
		if utiljson.Unmarshal([]byte(text), &meta) != nil || !settled(meta) || !plain(meta) {
			return
		}
		obj := map[string]any{"metadata": meta}
		decoded, _, err := objectmeta.GetObjectMeta(obj, false)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again := map[string]any{}
		if err := objectmeta.SetObjectMeta(again, decoded); err != nil || !reflect.DeepEqual(again, obj) {
			t.Errorf("%v, want %v (%v)", again, obj, err)
		}
	})
}

func TestSettled(t *testing.T) {
	t.Parallel()
	var meta map[string]any
	if err := utiljson.Unmarshal([]byte(settledMetadata), &meta); err != nil || !settled(meta) || !plain(meta) {
		t.Errorf("%v is not settled (%v)", meta, err)
	}
}
