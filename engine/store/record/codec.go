package record

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Codec turns the objects of one kind into bytes and back. What Decode returns
// is shared by all readers. Both may be called from several goroutines.
type Codec interface {
	Encode(obj object.Object) ([]byte, error)
	Decode(data []byte) (object.Object, error)
}

// The encodings of typed, the first byte of what it writes. A kind can
// change from one to the other without a new file format.
const (
	encodedProtobuf byte = 'p'
	encodedJSON     byte = 'j'
)

// Served returns the codec of the kinds in manifests/model/scheme: protobuf for
// Kubernetes' own kinds, JSON for those that have no protobuf form. It is nil
// for other kinds.
func Served(kind schema.GroupKind) Codec {
	k, ok := scheme.ForKind(kind)
	if !ok {
		return nil
	}
	return typed{k.New}
}

// Any is Served, and for all other kinds the codec of objects without a Go type:
// those of CustomResourceDefinitions, which may be read before their definition.
func Any(kind schema.GroupKind) Codec {
	if codec := Served(kind); codec != nil {
		return codec
	}
	return untyped{}
}

// typed is the codec of a Go type: protobuf where the type has it, JSON
// otherwise. create returns an empty object.
type typed struct{ create func() object.Object }

// protobufMessage is what Kubernetes' generated types have.
type protobufMessage interface {
	Size() int
	MarshalToSizedBuffer(data []byte) (int, error)
	Unmarshal(data []byte) error
}

// Size returns the size of obj as protobuf, in bytes, without encoding it; 0 if
// its type has no protobuf form.
func Size(obj object.Object) int64 {
	if m, ok := obj.(protobufMessage); ok {
		return int64(m.Size())
	}
	return 0
}

func (c typed) Encode(obj object.Object) ([]byte, error) {
	if m, ok := obj.(protobufMessage); ok {
		data := make([]byte, 1+m.Size())
		data[0] = encodedProtobuf
		if _, err := m.MarshalToSizedBuffer(data[1:]); err != nil {
			return nil, fmt.Errorf("encode as protobuf: %w", err)
		}
		return data, nil
	}
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return append([]byte{encodedJSON}, data...), nil
}

func (c typed) Decode(data []byte) (object.Object, error) {
	if len(data) == 0 {
		return nil, errors.New("decode: no data")
	}
	obj := c.create()
	switch data[0] {
	case encodedProtobuf:
		m, ok := obj.(protobufMessage)
		if !ok {
			return nil, fmt.Errorf("decode: %T has no protobuf form", obj)
		}
		if err := m.Unmarshal(data[1:]); err != nil {
			return nil, fmt.Errorf("decode protobuf: %w", err)
		}
	case encodedJSON:
		if err := json.Unmarshal(data[1:], obj); err != nil {
			return nil, fmt.Errorf("decode JSON: %w", err)
		}
	default:
		return nil, fmt.Errorf("decode: unknown encoding %q", data[0])
	}
	return obj, nil
}

// untyped is the codec of *unstructured.Unstructured: JSON, with the fields in
// the order of their names.
type untyped struct{}

// Encode implements Codec.
func (untyped) Encode(obj object.Object) ([]byte, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("encode: %T has a Go type, and its kind is not served", obj)
	}
	data, err := object.AppendJSON([]byte{encodedJSON}, u.Object)
	if err != nil {
		return nil, fmt.Errorf("encode as JSON: %w", err)
	}
	return data, nil
}

// Decode implements Codec. Integers stay integers.
func (untyped) Decode(data []byte) (object.Object, error) {
	if len(data) == 0 || data[0] != encodedJSON {
		return nil, errors.New("decode: an object without a Go type must be JSON")
	}
	u := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(data[1:], &u.Object); err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	if u.GetKind() == "" {
		return nil, errors.New("decode: the object has no kind")
	}
	return u, nil
}
