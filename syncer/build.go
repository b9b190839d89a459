package syncer

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/kustomize/api/konfig"

	"headway.dev/manifests/load"
	"headway.dev/manifests/object"
	"headway.dev/manifests/scheme"
)

// builder renders a Kustomization's directory, and renders again only what
// changed: a file of plain YAML by its blob's hash, a kustomization by all
// that its build looked at. It returns the same objects for the same files.
type builder struct {
	files map[string]builtFile // by path
	// cache is of directories that are more than plain files.
	cache load.Cache

	// What last was built from: the root tree's hash, and what shapes it.
	root   string
	dir    string
	ignore string
	spec   kustomizev1.KustomizationSpec
	inputs string
	last   []load.Item
}

type builtFile struct {
	hash  string
	items []load.Item
}

// errPath says that the directory is not in the tree.
type errPath struct{ dir, revision string }

func (e *errPath) Error() string {
	return fmt.Sprintf("kustomization path not found: stat %s: no such file or directory at revision %s", e.dir, e.revision)
}

// cleanDir is spec.path as a path in the tree.
func cleanDir(p string) string {
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

// build renders dir of the tree. ignore are the patterns that the tree was
// opened with, which its hashes do not tell; in is what it depends on besides.
func (b *builder) build(tree tree, revision, ignore string, spec kustomizev1.KustomizationSpec, in inputs) ([]load.Item, error) {
	dir := cleanDir(spec.Path)
	if dir == "" {
		dir = "."
	}
	if err := unsupported(spec); err != nil {
		return nil, err
	}
	if info, err := fs.Stat(tree, dir); err != nil || !info.IsDir() {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return nil, &errPath{dir: dir, revision: revision}
	}
	root, err := tree.Hash(".")
	if err != nil {
		return nil, err
	}
	if b.last != nil && b.root == root && b.dir == dir && b.ignore == ignore && b.inputs == in.id && equality.Semantic.DeepEqual(b.spec, spec) {
		return b.last, nil
	}
	var items []load.Item
	files, plain, err := plainFiles(tree, dir)
	switch {
	case err != nil:
		return nil, err
	case plain && !shaped(spec) && in.id == "":
		b.cache = load.Cache{}
		items, err = b.buildFiles(tree, files)
	default:
		b.files = nil
		items, err = load.Dir(tree, dir, in.options(load.Options{Build: &spec, Cache: &b.cache}))
		b.reuse(items)
	}
	if err != nil {
		return nil, err
	}
	b.root, b.dir, b.ignore, b.spec, b.inputs, b.last = root, dir, ignore, spec, in.id, items
	if b.last == nil {
		b.last = []load.Item{}
	}
	return b.last, nil
}

// reuse puts the objects of the last build where they are unchanged, so that
// they are known as the same ones.
func (b *builder) reuse(items []load.Item) {
	before := make(map[object.Key]object.Object, len(b.last))
	for _, it := range b.last {
		if key, err := scheme.KeyOf(it.Object); err == nil {
			before[key] = it.Object
		}
	}
	for i := range items {
		key, err := scheme.KeyOf(items[i].Object)
		if old := before[key]; err == nil && old != nil && equality.Semantic.DeepEqual(old, items[i].Object) {
			items[i].Object = old
		}
	}
}

// shaped says whether the spec changes what the files say.
func shaped(spec kustomizev1.KustomizationSpec) bool {
	return spec.TargetNamespace != "" || spec.NamePrefix != "" || spec.NameSuffix != "" || spec.CommonMetadata != nil ||
		len(spec.Patches) > 0 || len(spec.Images) > 0 || len(spec.Components) > 0 || len(spec.BuildMetadata) > 0
}

// unsupported fails for what would be wrong to ignore.
func unsupported(spec kustomizev1.KustomizationSpec) error {
	if spec.KubeConfig != nil {
		return errors.New("not supported yet: spec.kubeConfig")
	}
	return nil
}

// plainFile is a file of YAML and its content's hash.
type plainFile struct{ name, hash string }

// plainFiles lists the YAML files below dir, as load.Dir visits them. It
// reports false if there is anything among them that only load.Dir can judge.
func plainFiles(tree tree, dir string) ([]plainFile, bool, error) {
	entries, err := tree.ReadDir(dir)
	if err != nil {
		return nil, false, err
	}
	var files []plainFile
	for _, e := range entries {
		for _, name := range konfig.RecognizedKustomizationFileNames() {
			if e.Name() == name {
				return nil, false, nil
			}
		}
		name, ext := path.Join(dir, e.Name()), path.Ext(e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.Type()&fs.ModeSymlink != 0 || ext == ".json":
			return nil, false, nil
		case e.IsDir():
			below, plain, err := plainFiles(tree, name)
			if err != nil || !plain {
				return nil, false, err
			}
			files = append(files, below...)
		case ext == ".yaml" || ext == ".yml":
			hash, err := tree.Hash(name)
			if err != nil {
				return nil, false, err
			}
			files = append(files, plainFile{name: name, hash: hash})
		}
	}
	return files, true, nil
}

// maxPlainFile bounds one manifest file, as load's default does.
const maxPlainFile = 5 << 20

// buildFiles decodes the files that changed.
func (b *builder) buildFiles(tree tree, files []plainFile) ([]load.Item, error) {
	next := make(map[string]builtFile, len(files))
	items := make([]load.Item, 0, len(b.last)+1)
	var errs []error
	for _, f := range files {
		built, ok := b.files[f.name]
		if !ok || built.hash != f.hash {
			data, err := tree.ReadFile(f.name)
			if err == nil && len(data) > maxPlainFile {
				err = &load.Error{Source: load.Source{File: f.name}, Reason: fmt.Sprintf("the file is larger than %d bytes", maxPlainFile)}
			}
			if err == nil {
				built = builtFile{hash: f.hash}
				built.items, err = load.Bytes(f.name, data)
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		next[f.name] = built
		items = append(items, built.items...)
	}
	// What could be decoded is kept also when something could not.
	b.files = next
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return items, nil
}
