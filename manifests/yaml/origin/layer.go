package origin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/yaml/load"
)

// layer is one kustomization that an object went through: its file, or the
// spec of a Flux Kustomization, which has the same fields.
type layer struct {
	place
	dir string // that its paths are relative to
}

// maxLayers bounds how many kustomizations one object goes through.
const maxLayers = 200

// errTangled says that a kustomization refers to too much to go through.
var errTangled = errors.New("the kustomizations refer to more files and directories than are looked at")

// search finds the ways by which a build reaches a file.
type search struct {
	files *files
	file  string // the file that declares or generates the object
	steps int
	found [][]*layer
}

// trace finds the manifest and the layers of an item.
func (t *Trace) trace(dir string, spec *kustomizev1.KustomizationSpec, item load.Item) error {
	s := &search{files: t.files, file: item.Source.File}
	declared, err := t.files.objects(item.Source.File)
	if err != nil {
		return err
	}
	var last []*layer
	var more []string // components, which come before what the directory's own file does
	if spec != nil {
		l, err := s.specLayer(spec, dir)
		if err != nil {
			return err
		}
		last, more = []*layer{l}, spec.Components
	}
	if len(more) == 0 && isPlain(t.files.tree, dir, item.Source.File) {
		s.found = [][]*layer{last}
	} else if err := s.root(dir, more, last); err != nil {
		return err
	}
	t.choose(s.found, declared, item)
	return nil
}

// choose takes the way and the manifest that together give the object's name;
// a base may be used by several overlays, which name its objects differently.
func (t *Trace) choose(ways [][]*layer, declared []*place, item load.Item) {
	name, ns := item.Object.GetName(), item.Object.GetNamespace()
	best := -1
	consider := func(score int, way []*layer, p *place, names []string) {
		if score > best {
			best, t.layers, t.declared, t.names = score, way, p, names
		}
	}
	for _, way := range ways {
		consider(0, way, nil, []string{name})
		for _, p := range declared {
			if scalar(p.node, "kind") != t.kind {
				continue
			}
			names := []string{scalar(p.node, "metadata.name")}
			for _, l := range way {
				names = append(names, l.rename(names[len(names)-1]))
			}
			var score int
			switch {
			case names[len(names)-1] == name:
				score = 4
			case strings.Contains(name, names[0]):
				score = 2 // a patch may rename, too
			default:
				continue
			}
			if at := scalar(p.node, "metadata.namespace"); at == ns || at == "" {
				score++
			}
			consider(score, way, p, names)
		}
	}
	t.names = append(t.names, name)
}

// rename is what a layer makes of an object's name.
func (l *layer) rename(name string) string {
	return scalar(l.node, "namePrefix") + name + scalar(l.node, "nameSuffix")
}

// isPlain reports whether no kustomization stands between dir and a file below it.
func isPlain(tree fs.FS, dir, file string) bool {
	if dir != "." && !strings.HasPrefix(file, dir+"/") {
		return false
	}
	for at := path.Dir(file); ; at = path.Dir(at) {
		if kustomizationFile(tree, at) != "" {
			return false
		}
		if at == dir || at == "." {
			return true
		}
	}
}

func kustomizationFile(tree fs.FS, dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		p := path.Join(dir, name)
		if info, err := fs.Stat(tree, p); err == nil && info.Mode().IsRegular() {
			return p
		}
	}
	return ""
}

// root searches the directory that is built, with further components.
func (s *search) root(dir string, components []string, above []*layer) error {
	if file := kustomizationFile(s.files.tree, dir); file != "" {
		return s.kustomization(file, components, above)
	}
	after, err := s.components(dir, components, above)
	if err != nil {
		return err
	}
	return s.plain(dir, after)
}

// kustomization searches what the build of a kustomization file reads. above
// are the layers that its objects go through afterwards.
func (s *search) kustomization(file string, components []string, above []*layer) error {
	if s.steps++; s.steps > maxRead || len(above) > maxLayers {
		return errTangled
	}
	l, err := s.layer(file)
	if err != nil || l == nil {
		return err
	}
	after, err := s.components(l.dir, slices.Concat(l.list("components"), components), append([]*layer{l}, above...))
	if err != nil {
		return err
	}
	return s.entries(l, after)
}

// components searches the components of a kustomization in dir, and returns
// the layers that the other objects of the kustomization go through: the
// components, then those above.
func (s *search) components(dir string, components []string, above []*layer) ([]*layer, error) {
	var layers []*layer
	for _, c := range components {
		more, err := s.component(path.Join(dir, c), 0)
		if err != nil {
			return nil, err
		}
		layers = append(layers, more...)
	}
	all := slices.Concat(layers, above)
	for i, l := range layers {
		if err := s.entries(l, all[i:]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// entries searches the resources of a kustomization, and what it generates.
func (s *search) entries(l *layer, after []*layer) error {
	if l.file == s.file {
		s.found = append(s.found, after)
	}
	for _, entry := range slices.Concat(l.list("resources"), l.list("bases")) {
		p := path.Join(l.dir, entry)
		if p == s.file {
			s.found = append(s.found, after)
		} else if file := kustomizationFile(s.files.tree, p); file != "" {
			if err := s.kustomization(file, nil, after); err != nil {
				return err
			}
		}
	}
	return nil
}

// component is the layers of a component: of those that it includes, then its
// own.
func (s *search) component(dir string, depth int) ([]*layer, error) {
	if s.steps++; s.steps > maxRead || depth > 32 {
		return nil, errTangled
	}
	file := kustomizationFile(s.files.tree, dir)
	if file == "" {
		return nil, nil // spec.ignoreMissingComponents
	}
	l, err := s.layer(file)
	if err != nil || l == nil {
		return nil, err
	}
	var layers []*layer
	for _, c := range l.list("components") {
		more, err := s.component(path.Join(dir, c), depth+1)
		if err != nil {
			return nil, err
		}
		layers = append(layers, more...)
	}
	return append(layers, l), nil
}

// plain searches a directory without a kustomization file, and the
// kustomizations below it.
func (s *search) plain(dir string, above []*layer) error {
	entries, err := fs.ReadDir(s.files.tree, dir)
	if err != nil {
		return fmt.Errorf("read directory: %w", err)
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			if err := s.root(p, nil, above); err != nil {
				return err
			}
		case p == s.file:
			s.found = append(s.found, above)
		}
	}
	return nil
}

// layer reads a kustomization file; nil if it is not one.
func (s *search) layer(file string) (*layer, error) {
	docs, err := s.files.documents(file)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 || docs[0].root.Kind != yaml.MappingNode {
		return nil, nil
	}
	return &layer{place: place{document: docs[0], node: docs[0].root}, dir: path.Dir(file)}, nil
}

// list is the strings of a list of the layer.
func (l *layer) list(field string) []string {
	n := fieldpath.Child(l.node, field)
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, c.Value)
	}
	return out
}

// specLayer is what the fields of a Flux Kustomization change.
func (s *search) specLayer(spec *kustomizev1.KustomizationSpec, dir string) (*layer, error) {
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode the Kustomization: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil || len(doc.Content) == 0 {
		return nil, fmt.Errorf("encode the Kustomization: %w", err)
	}
	d := &document{root: doc.Content[0], spec: true, files: s.files}
	return &layer{place: place{document: d, node: d.root, prefix: "spec"}, dir: dir}, nil
}
