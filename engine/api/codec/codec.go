// Package codec adapts the scheme of manifests/model/scheme to what the API
// machinery of k8s.io/apiserver expects of its codecs.
//
// The published v1 types are also the internal types here, so objects read from
// the store reach the encoders as they are: shared by every reader. The library
// stamps the kind into whatever it encodes or converts, which for shared
// objects is a data race. [Serializer] and [Convertor] therefore hand the
// library a shallow copy of the outer struct. They also apply the defaults of
// manifests/model/defaults, which are not registered in the scheme.
//
// Everything here is stateless and safe for concurrent use.
package codec

import (
	"io"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Serializer wraps a negotiated serializer: objects that it encodes are never
// changed, and objects that it decodes have their defaults.
type Serializer struct {
	runtime.NegotiatedSerializer
}

// EncoderForVersion implements runtime.NegotiatedSerializer.
func (s Serializer) EncoderForVersion(e runtime.Encoder, gv runtime.GroupVersioner) runtime.Encoder {
	return encoder{s.NegotiatedSerializer.EncoderForVersion(e, gv)}
}

// DecoderToVersion implements runtime.NegotiatedSerializer.
func (s Serializer) DecoderToVersion(d runtime.Decoder, gv runtime.GroupVersioner) runtime.Decoder {
	return decoder{s.NegotiatedSerializer.DecoderToVersion(d, gv)}
}

type encoder struct{ runtime.Encoder }

// Encode implements runtime.Encoder.
func (e encoder) Encode(obj runtime.Object, w io.Writer) error {
	return e.EncodeWithAllocator(obj, w, nil)
}

// EncodeWithAllocator implements runtime.EncoderWithAllocator.
func (e encoder) EncodeWithAllocator(obj runtime.Object, w io.Writer, alloc runtime.MemoryAllocator) error {
	// An object that caches its encodings asks for the encoding of what it
	// wraps, which is as shared as any other.
	if c, ok := obj.(runtime.CacheableObject); ok {
		return c.CacheEncode(e.Identifier(), func(obj runtime.Object, w io.Writer) error {
			return e.encode(obj, w, alloc)
		}, w)
	}
	return e.encode(obj, w, alloc)
}

func (e encoder) encode(obj runtime.Object, w io.Writer, alloc runtime.MemoryAllocator) error {
	obj = shallow(obj)
	if a, ok := e.Encoder.(runtime.EncoderWithAllocator); ok && alloc != nil {
		return a.EncodeWithAllocator(obj, w, alloc)
	}
	return e.Encoder.Encode(obj, w)
}

type decoder struct{ runtime.Decoder }

// Decode implements runtime.Decoder.
func (d decoder) Decode(data []byte, gvk *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, kind, err := d.Decoder.Decode(data, gvk, into)
	// A strict decoder returns the object together with the error, and the
	// caller may go on with it.
	if obj != nil {
		Defaulter{}.Default(obj)
	}
	return obj, kind, err
}

// Defaulter applies the defaults of manifests/model/defaults.
type Defaulter struct{}

// Default implements runtime.ObjectDefaulter.
func (Defaulter) Default(in runtime.Object) {
	if obj, ok := in.(object.Object); ok {
		defaults.Apply(obj)
	}
}

// shallow copies the struct that obj points to. Unstructured objects are maps
// that the library does not stamp.
func shallow(obj runtime.Object) runtime.Object {
	if _, ok := obj.(runtime.Unstructured); ok {
		return obj
	}
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return obj
	}
	out := reflect.New(v.Type().Elem())
	out.Elem().Set(v.Elem())
	return out.Interface().(runtime.Object)
}

// jsonOnly is a serializer that does not offer protobuf.
type jsonOnly struct{ Serializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (s jsonOnly) SupportedMediaTypes() []runtime.SerializerInfo {
	return slices.DeleteFunc(slices.Clone(s.Serializer.SupportedMediaTypes()), func(info runtime.SerializerInfo) bool {
		return info.MediaType == runtime.ContentTypeProtobuf
	})
}

// ForGroup returns the serializer for the kinds of a group version. Clients
// that would rather have protobuf get JSON from groups whose Go types do not
// have it (Flux').
func ForGroup(gv schema.GroupVersion) runtime.NegotiatedSerializer {
	s := Serializer{scheme.Codecs}
	for _, kind := range scheme.Kinds() {
		if _, ok := kind.New().(interface{ Marshal() ([]byte, error) }); !ok && kind.GroupVersion() == gv {
			return jsonOnly{s}
		}
	}
	return s
}

// Storage is the codec with which the library makes copies in a dry run.
func Storage() runtime.Codec {
	var versions []schema.GroupVersion
	for _, kind := range scheme.Kinds() {
		if gv := kind.GroupVersion(); !slices.Contains(versions, gv) {
			versions = append(versions, gv)
		}
	}
	return scheme.Codecs.LegacyCodec(versions...)
}
