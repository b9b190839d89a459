package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/tree"
)

// builder renders a Kustomization's directory, and renders again only what
// changed: a file of plain YAML by its blob's hash, a kustomization by all
// that its build looked at. It returns the same objects for the same files.
type builder struct {
	// plain is the directory if it holds nothing but plain files, and plainAt
	// where it is and by which patterns it was listed.
	plain   *plainDir
	plainAt [2]string
	// cache is of directories that are more than plain files.
	cache load.Cache

	// What last was built from: the root tree's hash, and what shapes it.
	root   string
	dir    string
	ignore string
	spec   kustomizev1.KustomizationSpec
	inputs string
	last   []load.Item
	// scopes gives what was built its namespaces.
	scopes scopes
	// made is how many objects the last build had to decode or render.
	made int
}

// PathError reports that the directory is not in the tree.
type PathError struct{ dir, revision string }

// Error implements error.
func (e *PathError) Error() string {
	return fmt.Sprintf("kustomization path not found: stat %s: no such file or directory at revision %s", e.dir, e.revision)
}

// CleanDir returns spec.path as a path in the tree.
func CleanDir(p string) string {
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}

// build renders dir of the tree. in is what it depends on besides.
func (b *builder) build(ctx context.Context, tree tree.Tree, revision string, spec kustomizev1.KustomizationSpec, in inputs) ([]load.Item, error) {
	dir := CleanDir(spec.Path)
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
		return nil, &PathError{dir: dir, revision: revision}
	}
	b.made = 0
	ignore := tree.Rules()
	root, err := tree.Hash(".")
	if err != nil {
		return nil, err
	}
	if b.last != nil && b.root == root && b.dir == dir && b.ignore == ignore && b.inputs == in.id && equality.Semantic.DeepEqual(b.spec, spec) {
		return b.last, nil
	}
	before, at := b.plain, [2]string{dir, ignore}
	if b.plainAt[0] != dir {
		before = nil
	}
	var items []load.Item
	files, plain, err := scanPlain(tree, dir, before, b.plainAt == at)
	switch {
	case err != nil:
		return nil, err
	case plain && !shaped(spec) && in.id == "":
		b.cache, b.plain, b.plainAt = load.Cache{}, files, at
		b.made, err = files.build(tree, dir)
		items = files.items
	default:
		b.plain = nil
		items, err = load.Dir(ctx, tree, dir, in.options(load.Options{Build: &spec, Cache: &b.cache}))
		b.made = b.cache.Made()
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
	known := make(map[object.Object]bool, len(b.last))
	for _, it := range b.last {
		known[it.Object] = true
	}
	if !slices.ContainsFunc(items, func(it load.Item) bool { return !known[it.Object] }) {
		return
	}
	before := make(map[object.Key]object.Object, len(b.last))
	for _, it := range b.last {
		if key, err := scheme.KeyOf(it.Object); err == nil {
			before[key] = it.Object
		}
	}
	for i := range items {
		if known[items[i].Object] {
			continue
		}
		key, err := scheme.KeyOf(items[i].Object)
		if old := before[key]; err == nil && old != nil && equality.Semantic.DeepEqual(old, items[i].Object) {
			items[i].Object = old
		}
	}
}

// shaped reports whether the spec changes what the files say.
func shaped(spec kustomizev1.KustomizationSpec) bool {
	return spec.TargetNamespace != "" || spec.NamePrefix != "" || spec.NameSuffix != "" || spec.CommonMetadata != nil ||
		len(spec.Patches) > 0 || len(spec.Images) > 0 || len(spec.Components) > 0 || len(spec.BuildMetadata) > 0
}

// unsupported fails for what would be wrong to ignore.
func unsupported(spec kustomizev1.KustomizationSpec) error {
	if spec.KubeConfig != nil {
		return errors.New("not supported yet: spec.kubeConfig")
	}
	if spec.Decryption != nil && spec.Decryption.ServiceAccountName != "" {
		return errors.New("not supported yet: spec.decryption.serviceAccountName")
	}
	return nil
}

// fork is a builder that knows what b does, and from which b learns nothing:
// for what is only looked at. The objects are the same ones.
func (b *builder) fork() builder {
	dup := *b
	dup.cache = b.cache.Clone()
	return dup
}

// Render turns a revision's files into the objects that the Kustomization
// declares: the step between a source, of any kind, and a plan.
func (r *Renderer) Render(ctx context.Context, ks *kustomizev1.Kustomization, t tree.Tree, revision string) ([]load.Item, error) {
	in, err := r.inputs(ctx, ks)
	if err != nil {
		return nil, fault.New(meta.BuildFailedReason, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ks.GetTimeout(), fmt.Errorf("the build takes longer than spec.timeout, %s", ks.GetTimeout()))
	defer cancel()
	items, err := r.builder.build(ctx, t, revision, ks.Spec, in)
	if missing := (*PathError)(nil); errors.As(err, &missing) {
		return nil, fault.New(meta.ArtifactFailedReason, err)
	}
	if err != nil {
		return nil, fault.New(meta.BuildFailedReason, err)
	}
	return r.builder.scopes.in(items, r.kinds(items, r.definitions)), nil
}

// kinds are those of the cluster, of definitions that are not stored yet, and of those
// that are and whose names are yet to be accepted.
func (r *Renderer) kinds(items []load.Item, definitions []*apiextensionsv1.CustomResourceDefinition) *scheme.Set {
	set := r.env.Kinds.Set().With(definitions...)
	seen := map[schema.GroupKind]bool{}
	for _, it := range items {
		u, ok := it.Object.(*unstructured.Unstructured)
		if !ok || seen[u.GroupVersionKind().GroupKind()] {
			continue
		}
		gk := u.GroupVersionKind().GroupKind()
		seen[gk] = true
		if _, known := set.ForKind(gk); known {
			continue
		}
		if crd, _ := scheme.Coming(r.env.Store, gk); crd != nil {
			set = set.With(crd)
		}
	}
	return set
}

// ignore is the source's spec.ignore, which may be empty.
func (r *Renderer) ignore(ks *kustomizev1.Kustomization) string {
	return flux.Ignore(r.env.Store, flux.SourceKey(ks))
}
