package scheme_test

import (
	"bytes"
	"math/rand"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/scheme"
)

// FuzzDecode: nothing that a client sends, in JSON, YAML or protobuf, makes the
// decoders fall over, and what they make of it is the same after it has been
// written and read again, in each of them.
func FuzzDecode(f *testing.F) {
	proto := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), scheme.Codecs)
	for _, k := range scheme.Kinds() {
		obj := k.New()
		if k.Group != "apiextensions.k8s.io" { // whose schemas contain schemas
			fill.Fill(obj)
		}
		obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind)
		data, err := runtime.Encode(info.Serializer, obj)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if data, err = yaml.JSONToYAML(data); err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		if data, err = runtime.Encode(proto, obj); err == nil { // Flux' kinds have none
			f.Add(data)
		}
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, kind, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
		if err != nil {
			return
		}
		// The library finds the kind whatever the case of its fields.
		obj.GetObjectKind().SetGroupVersionKind(*kind)
		stable(t, info.Serializer, obj)
		if _, ok := obj.(interface{ Marshal() ([]byte, error) }); ok {
			stable(t, proto, obj)
		}
	})
}

func stable(t *testing.T, codec runtime.Serializer, obj runtime.Object) {
	t.Helper()
	once, err := runtime.Encode(codec, obj)
	if err != nil {
		return // a number that JSON does not have
	}
	back, _, err := codec.Decode(once, nil, nil)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%s", err, once)
	}
	twice, err := runtime.Encode(codec, back)
	// JSON escapes what is no UTF-8, which protobuf lets through as Kubernetes' does, and
	// writes as it is what it has been read as.
	once = bytes.ReplaceAll(once, []byte(`\ufffd`), []byte("\ufffd"))
	if err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("what was read is written differently: %v\n%s\n%s", err, once, twice)
	}
}
