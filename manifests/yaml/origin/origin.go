package origin

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"go.yaml.in/yaml/v3"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/yaml/load"
)

// How is the way in which a value got into an object.
type How string

// The ways, named after the fields of a kustomization.
const (
	Manifest    How = "manifest"     // as the file declares it
	Patch       How = "patch"        // a strategic merge patch
	JSONPatch   How = "json-patch"   // an operation of a JSON 6902 patch
	Images      How = "images"       // an entry of images
	Replicas    How = "replicas"     // an entry of replicas
	Namespace   How = "namespace"    // namespace, or spec.targetNamespace
	NamePrefix  How = "namePrefix"   //
	NameSuffix  How = "nameSuffix"   //
	Labels      How = "labels"       // labels, commonLabels or spec.commonMetadata
	Annotations How = "annotations"  // commonAnnotations or spec.commonMetadata
	Generator   How = "generator"    // configMapGenerator or secretGenerator
	Reference   How = "reference"    // the name of another object, which a kustomization changed
	Replacement How = "replacements" // copied from elsewhere by a replacement
	Rendered    How = "rendered"     // by a kustomization, in a way that cannot be told
)

// Origin is the place of one value.
type Origin struct {
	How How
	// Source is the file and the line of the value's key. An empty File means
	// the Flux Kustomization's own object, in which Field is the value's path.
	Source load.Source
	// End is the last line of the value, at least Source.Line.
	End int
	// Document counts the documents of the file from 0, and Field is the
	// value's path in it: spec.replicas, images[0].newTag.
	Document int
	Field    string
	// Inline is the path within a document that is embedded as text at Field,
	// such as an inline patch.
	Inline string
	// Exact reports whether the value itself is written there. Otherwise it was
	// computed from what is.
	Exact bool
}

// Trace knows the origins of one object's fields.
type Trace struct {
	files    *files
	rendered *yaml.Node
	kind     string
	// declared is the object as a file declares it, nil if it is generated.
	declared *place
	// layers are the kustomizations in the order of their application.
	layers []*layer
	names  []string // that the object had on its way, the first one first
}

// place is an object or a value in a document of a file.
type place struct {
	*document
	prefix string // path of the object in the document: items[3]
	node   *yaml.Node
}

// Of prepares to find the origins of the fields of item, which a load of dir in
// tree rendered. spec, if not nil, is that of the Flux Kustomization which the
// load had as its Options.Build. It fails if the files cannot be read.
func Of(tree fs.FS, dir string, spec *kustomizev1.KustomizationSpec, item load.Item) (*Trace, error) {
	raw, err := json.Marshal(item.Object)
	if err != nil {
		return nil, fmt.Errorf("encode the object: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil || len(doc.Content) == 0 {
		return nil, fmt.Errorf("encode the object: %w", err)
	}
	t := &Trace{files: newFiles(tree), rendered: doc.Content[0], kind: item.Object.GetObjectKind().GroupVersionKind().Kind}
	dir = path.Clean(strings.TrimPrefix(dir, "/"))
	if err := t.trace(dir, spec, item); err != nil {
		return nil, err
	}
	return t, nil
}

// Field returns the origin of a field that the object was rendered with; paths
// are in the notation of package diff. It reports false for a field that the
// rendered object does not have.
func (t *Trace) Field(field string) (Origin, bool) {
	_, value := fieldpath.Lookup(t.rendered, field)
	if value == nil && t.kind == "Secret" && strings.HasPrefix(field, "data") {
		// Written as text, stored as data.
		return t.Field("stringD" + field[1:])
	}
	if value == nil {
		return Origin{}, false
	}
	c := claim{trace: t, field: field, value: value}
	for _, v := range slices.Backward(t.layers) {
		if o, ok := v.claims(c); ok {
			return o, true
		}
	}
	return t.fromManifest(c), true
}

// claim asks whether something sets a field to a value.
type claim struct {
	trace *Trace
	field string
	value *yaml.Node // as rendered
}

// fromManifest is the answer for what no layer sets.
func (t *Trace) fromManifest(c claim) Origin {
	if t.declared == nil {
		return t.somewhere(Rendered)
	}
	key, value := fieldpath.Lookup(t.declared.node, c.field)
	if value == nil {
		return t.somewhere(Replacement)
	}
	o := t.declared.origin(Manifest, key, value, c.field)
	switch {
	case len(t.layers) == 0 || same(c.value, value):
		return o
	case c.value.Kind == yaml.ScalarNode && value.Kind == yaml.ScalarNode && strings.Contains(c.value.Value, value.Value):
		o.How, o.Exact = Reference, false
		return o
	}
	return t.somewhere(Replacement)
}

// somewhere is the answer for what was computed: the last kustomization that
// has something of that kind, else the manifest or the last kustomization.
func (t *Trace) somewhere(how How) Origin {
	for _, v := range slices.Backward(t.layers) {
		for _, field := range []string{"replacements", "transformers", "vars"} {
			if key, value := fieldpath.Lookup(v.node, field); value != nil && how == Replacement {
				o := v.origin(how, key, value, field)
				o.Exact = false
				return o
			}
		}
	}
	for _, v := range slices.Backward(t.layers) {
		if l := v; !l.spec {
			return Origin{How: Rendered, Source: load.Source{File: l.file, Line: l.node.Line}, End: l.node.Line, Document: l.index}
		}
	}
	if t.declared != nil {
		return Origin{How: Rendered, Source: load.Source{File: t.declared.file, Line: t.declared.node.Line}, End: t.declared.node.Line, Document: t.declared.index, Field: t.declared.prefix}
	}
	return Origin{How: Rendered}
}

// Files returns the files from which the object was made, its manifest first.
func (t *Trace) Files() []string {
	return t.files.order
}
