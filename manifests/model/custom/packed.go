package custom

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"weak"

	"github.com/klauspost/compress/s2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"headway.dev/manifests/model/object"
)

// Packed is a definition whose schemas are compressed: decoded, they take thirty times
// as much memory, and most definitions are not used most of the time. The whole
// definition is there again for whoever asks for it, and for as long as somebody has it.
type Packed struct {
	head    *apiextensionsv1.CustomResourceDefinition
	schemas []*packedSchema // of each version; nil for one without

	mu    sync.Mutex
	whole weak.Pointer[apiextensionsv1.CustomResourceDefinition]
}

var _ object.Packed = (*Packed)(nil)

// Pack returns crd packed. crd must not change any more.
func Pack(crd *apiextensionsv1.CustomResourceDefinition) *Packed {
	p := &Packed{head: Head(crd), whole: weak.Make(crd)}
	for _, v := range crd.Spec.Versions {
		p.schemas = append(p.schemas, packSchema(v.Schema))
	}
	return p
}

// Head is the definition without its schemas: each is one of all objects.
func (p *Packed) Head() object.Object { return p.head }

// Whole implements object.Packed.
func (p *Packed) Whole() object.Object { return p.definition() }

func (p *Packed) definition() *apiextensionsv1.CustomResourceDefinition {
	p.mu.Lock()
	defer p.mu.Unlock()
	if crd := p.whole.Value(); crd != nil {
		return crd
	}
	crd := *p.head
	crd.Spec.Versions = slices.Clone(crd.Spec.Versions)
	for i := range crd.Spec.Versions {
		crd.Spec.Versions[i].Schema = p.schemas[i].whole()
	}
	p.whole = weak.Make(&crd)
	return &crd
}

// Head returns crd with schemas that allow everything in the place of its own, for
// what looks at the rest of it.
func Head(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	head := *crd
	head.Spec.Versions = slices.Clone(crd.Spec.Versions)
	for i := range head.Spec.Versions {
		if v := &head.Spec.Versions[i]; v.Schema != nil {
			v.Schema = anything
		}
	}
	return &head
}

// Copy is a deep copy of crd but for its schemas, which nobody changes: whoever wants
// other ones has other ones made.
func Copy(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	out := Head(crd).DeepCopy()
	for i := range out.Spec.Versions {
		out.Spec.Versions[i].Schema = crd.Spec.Versions[i].Schema
	}
	return out
}

// anything is the schema of all objects.
var anything = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
	Type: "object", XPreserveUnknownFields: new(true),
}}

// packedSchema is the schema of a version. The states of a definition share it.
type packedSchema struct {
	data []byte // protobuf, compressed

	mu   sync.Mutex
	live weak.Pointer[apiextensionsv1.CustomResourceValidation]
}

// packed has the packed form of each schema that is in use: by the schema's weak
// pointer, a *packedSchema.
var packed sync.Map

// packSchema returns the packed form of a schema, which is made once.
func packSchema(schema *apiextensionsv1.CustomResourceValidation) *packedSchema {
	if schema == nil {
		return nil
	}
	if p, ok := packed.Load(weak.Make(schema)); ok {
		return p.(*packedSchema)
	}
	data, err := schema.Marshal()
	if err != nil {
		panic(fmt.Sprintf("encode the schema of a definition: %v", err)) // it has no error
	}
	p := &packedSchema{data: bytes.Clone(s2.EncodeBetter(nil, data))}
	p.uses(schema)
	return p
}

// uses notes that schema is what is packed, for as long as somebody has it.
func (p *packedSchema) uses(schema *apiextensionsv1.CustomResourceValidation) {
	p.live = weak.Make(schema)
	if _, known := packed.Swap(p.live, p); !known {
		runtime.AddCleanup(schema, func(key weak.Pointer[apiextensionsv1.CustomResourceValidation]) { packed.Delete(key) }, p.live)
	}
}

// whole returns the schema.
func (p *packedSchema) whole() *apiextensionsv1.CustomResourceValidation {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if schema := p.live.Value(); schema != nil {
		return schema
	}
	schema := &apiextensionsv1.CustomResourceValidation{}
	data, err := s2.Decode(nil, p.data)
	if err == nil {
		err = schema.Unmarshal(data)
	}
	if err != nil {
		panic(fmt.Sprintf("decode the schema of a definition: %v", err)) // it was encoded here
	}
	p.uses(schema)
	return schema
}
