package load

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/model/fieldpath"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load/kustomize"
	"headway.dev/manifests/yaml/sops"
)

// build renders the kustomization in dir and adds what comes out. change, if
// set, edits the kustomization of dir itself first.
func (l *loader) build(dir string, change func(*types.Kustomization) error) {
	b := &build{loader: l, dir: dir, change: change, standIn: true, origins: map[string][]*candidate{}, decrypted: map[string]sops.File{}, left: map[string]bool{}}
	// With placeholders first: the library quotes values in its errors.
	rendered, err := b.run()
	switch {
	case len(b.decrypted) > 0:
		b.buildAgain(rendered, err)
	case err != nil:
		b.report(err)
	default:
		for _, res := range rendered {
			b.add(l, res)
		}
	}
}

// ErrBudget reports that a kustomization exceeded the CPU time, memory or
// output of a build. It would do so again.
var ErrBudget = kustomize.ErrBudget

// report adds what is wrong with a build.
func (b *build) report(err error) {
	if len(b.errs) > 0 {
		b.loader.errs = append(b.loader.errs, b.errs...)
		return
	}
	if faults := b.malformed(err); len(faults) > 0 {
		b.loader.errs = append(b.loader.errs, faults...)
		return
	}
	fault := &Error{Source: Source{File: b.kustomizationFile(b.dir)}, Reason: fmt.Sprintf("kustomize build: %v", err)}
	if errors.Is(err, ErrBudget) {
		fault.Reason, fault.cause = err.Error()+"; make the kustomization simpler, or split it", ErrBudget
	} else if b.ctx.Err() != nil {
		fault.Reason, fault.cause = fmt.Sprintf("kustomize build: %v", context.Cause(b.ctx)), b.ctx.Err()
	}
	b.loader.errs = append(b.loader.errs, fault)
}

// malformed finds the place in a file that kustomize could not parse: its own
// error names a path relative to a directory that it does not name.
func (b *build) malformed(err error) []*Error {
	if len(b.decrypted) > 0 || !strings.Contains(err.Error(), "MalformedYAMLError") {
		return nil
	}
	var faults []*Error
	for _, file := range slices.Sorted(maps.Keys(b.tree.prepared)) {
		if !strings.Contains(err.Error(), path.Base(file)) {
			continue
		}
		for _, doc := range split(file, b.tree.prepared[file]) {
			if _, err := doc.nodes(); err != nil {
				faults = append(faults, yamlError(doc, err))
			}
		}
	}
	return faults
}

// buildAgain renders with the decrypted values, and adds each object together
// with the one that has placeholders. failed is what was wrong with those; a
// build for which only the values are right is hidden as a whole.
func (b *build) buildAgain(standIn []kustomize.Resource, failed error) {
	faults := b.errs
	b.standIn, b.errs = false, nil
	real, err := b.run()
	if err != nil {
		b.errs = faults
		b.report(cmp.Or(failed, errSecret))
		return
	}
	var others []kustomize.Resource
	if failed == nil && len(real) == len(standIn) {
		others = standIn
	}
	b.renamed = map[string]string{}
	for i, other := range others {
		if name := real[i].Name; sameButHash(name, other.Name) {
			b.renamed[name] = other.Name
		}
	}
	b.named = others == nil
	for i, res := range real {
		if b.named && !b.namedInFile(res) {
			b.report(errSecret)
			continue
		}
		at := &position{doc: newDocument(b.kustomizationFile(b.dir), 1, nil, false)}
		b.pair(at, func(l *loader) { b.add(l, res) }, func(l *loader) {
			if others != nil {
				b.add(l, others[i])
			}
		})
	}
	b.renamed, b.named = nil, false
}

// namedInFile reports whether a resource is named as in the file that it is from.
func (b *build) namedInFile(res kustomize.Resource) bool {
	return res.Path != "" && slices.ContainsFunc(b.declared(path.Join(b.dir, res.Path)), func(c *candidate) bool {
		return c.kind == res.Kind && c.name == res.Name && c.ns == res.Namespace
	})
}

// run is one run of kustomize, with an error that can be shown.
func (b *build) run() ([]kustomize.Resource, error) {
	b.tree.prepare, b.tree.prepared = b.prepare, map[string][]byte{}
	rendered, err := kustomize.Build(b.ctx, b.tree, path.Join(treeRoot, b.dir), func() bool { return slices.Contains(b.keeps, types.OriginAnnotations) })
	switch {
	case errors.Is(err, ErrBudget) || b.ctx.Err() != nil:
		return nil, cmp.Or(err, b.ctx.Err())
	case err == nil && len(b.errs) > 0:
		err = errPrepare
	}
	if err != nil && b.tree.exceeded != nil {
		err = b.tree.exceeded
	}
	if err != nil {
		return nil, errors.New(withoutValues(strings.ReplaceAll(strings.ReplaceAll(err.Error(), treeRoot+"/", ""), treeRoot, ".")))
	}
	return rendered, nil
}

// quoting are the places where kustomize quotes what it was given, whole
// patches and literals of secrets among it, and what is said instead.
var quoting = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile("(?s) with config: `.*`"), ""},
	{regexp.MustCompile(`(?s) from \[patch: .*\]`), ""},
	{regexp.MustCompile(`(?s)literal sources \[.*`), "a literal source is not of the form key=value"},
}

// withoutValues is an error of kustomize without contents of the tree, which
// may be secret and would end up in statuses and logs.
func withoutValues(msg string) string {
	for _, q := range quoting {
		msg = q.pattern.ReplaceAllString(msg, q.instead)
	}
	return msg
}

// build is one run of kustomize.
type build struct {
	*loader
	dir    string
	change func(*types.Kustomization) error
	errs   []*Error
	// origins caches the objects that a file declares.
	origins map[string][]*candidate
	// keeps are the build metadata that stay on the objects.
	keeps []string
	// standIn builds with placeholders for what is encrypted; decrypted are the
	// files that were, left those that are to stay as they are.
	standIn   bool
	decrypted map[string]sops.File
	left      map[string]bool
}

// decrypt is the content of a file, decrypted if it is a file of SOPS.
func (b *build) decrypt(file string, data []byte) ([]byte, error) {
	if b.tree.opts.Decrypt == nil || b.left[file] {
		return data, nil
	}
	f, known := b.decrypted[file]
	if !known {
		if _, ok := sops.Detect(file, data); !ok {
			return data, nil
		}
		var err error
		if f, err = b.tree.opts.Decrypt(file, data); err != nil {
			return nil, fmt.Errorf("decryption failed: %w", err)
		}
		b.decrypted[file] = f
		b.varies = true
	}
	if b.standIn {
		return f.Placeholder, nil
	}
	return f.Plain, nil
}

// candidate is an object as it stands in a file, before kustomize changed it.
type candidate struct {
	at                         *position
	apiVersion, kind, name, ns string
}

func (b *build) kustomizationFile(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if p := path.Join(dir, name); b.tree.kind(p) == kindFile {
			return p
		}
	}
	return dir
}

// add decodes a rendered resource, with its position in the file that it came
// from.
func (b *build) add(l *loader, res kustomize.Resource) {
	at := &position{doc: newDocument(b.kustomizationFile(b.dir), 1, nil, false)}
	if res.Path != "" {
		at = b.locate(path.Join(b.dir, res.Path), res)
	} else if res.ConfiguredIn != "" {
		at = &position{doc: newDocument(path.Join(b.dir, res.ConfiguredIn), 1, nil, false)}
	}
	l.value(res.JSON, at, typeMeta{}, 0)
}

// locate finds a rendered resource in the file that declares it. Kustomize has
// forgotten the resource's first name by now, so of the file's objects of that
// kind it is the only one, the one of that name, or the one with the longest
// name that the name contains (prefixes and suffixes).
func (b *build) locate(file string, res kustomize.Resource) *position {
	declared, ok := b.origins[file]
	if !ok {
		declared = b.declared(file)
		b.origins[file] = declared
	}
	var best *candidate
	rank := func(c *candidate) int {
		switch {
		case c == nil:
			return -1
		case c.name == res.Name && c.ns == res.Namespace:
			return 2000
		case c.name == res.Name:
			return 1000
		case strings.Contains(res.Name, c.name):
			return len(c.name)
		}
		return 0
	}
	for _, c := range declared {
		if c.kind == res.Kind && c.apiVersion == res.APIVersion && rank(c) > rank(best) {
			best = c
		}
	}
	if best != nil {
		return best.at
	}
	return &position{doc: newDocument(file, 1, nil, false)}
}

// declared lists the objects of a file of the tree.
func (b *build) declared(file string) []*candidate {
	data, err := b.tree.read(file)
	if err != nil {
		return nil
	}
	var out []*candidate
	for _, doc := range split(file, data) {
		root, err := doc.nodes()
		if err != nil {
			continue
		}
		objects := map[*position]*kyaml.Node{{doc: doc}: root}
		if items := fieldpath.Child(root, "items"); items != nil && strings.HasSuffix(scalarAt(root, "kind"), "List") {
			objects = map[*position]*kyaml.Node{}
			for i, c := range items.Content {
				objects[(&position{doc: doc}).item(i)] = c
			}
		}
		for at, n := range objects {
			out = append(out, &candidate{
				at: at, apiVersion: scalarAt(n, "apiVersion"), kind: scalarAt(n, "kind"),
				name: scalarAt(n, "metadata", "name"), ns: scalarAt(n, "metadata", "namespace"),
			})
		}
	}
	return out
}

// buildWith renders dir with the changes that a Flux Kustomization asks for. A
// directory without a kustomization file gets one that lists its manifests.
func (l *loader) buildWith(dir string, spec *kustomizev1.KustomizationSpec) {
	generated, err := l.generate(dir)
	if err != nil {
		l.fail(Source{File: dir}, "generate a kustomization: %v", err)
		return
	}
	spec = &kustomizev1.KustomizationSpec{
		TargetNamespace: spec.TargetNamespace, NamePrefix: spec.NamePrefix, NameSuffix: spec.NameSuffix,
		Patches: spec.Patches, Images: spec.Images, Components: slices.Clone(spec.Components),
		IgnoreMissingComponents: spec.IgnoreMissingComponents, BuildMetadata: spec.BuildMetadata,
	}
	if spec.IgnoreMissingComponents {
		spec.Components = slices.DeleteFunc(spec.Components, func(c string) bool {
			return l.tree.kind(path.Join(dir, c)) == kindMissing
		})
	}
	key, err := json.Marshal(spec)
	if err != nil {
		l.fail(Source{File: dir}, "read the build fields: %v", err)
		return
	}
	l.cachedBuild(strings.Join([]string{dir, string(key), string(generated)}, "\x00"), func() {
		l.build(dir, func(k *types.Kustomization) error { return applySpec(k, spec) })
	})
}

// generate makes a kustomization file for a directory that has none, which
// lists its manifests; only the build sees it.
func (l *loader) generate(dir string) ([]byte, error) {
	if l.isKustomization(dir) {
		return nil, nil
	}
	k := types.Kustomization{TypeMeta: types.TypeMeta{APIVersion: types.KustomizationVersion, Kind: types.KustomizationKind}}
	l.walk(dir, func(p string, isDir bool) {
		if !isDir && path.Ext(p) == ".json" {
			if data, err := l.tree.read(p); err != nil || !isManifestJSON(data) {
				return
			}
		}
		k.Resources = append(k.Resources, strings.TrimPrefix(p, dir+"/"))
	})
	data, err := yaml.Marshal(k)
	l.tree.generated[path.Join(dir, konfig.DefaultKustomizationFileName())] = data
	return data, err
}

// changesBuild reports whether applySpec has anything to do.
func changesBuild(spec *kustomizev1.KustomizationSpec) bool {
	return spec.TargetNamespace != "" || spec.NamePrefix != "" || spec.NameSuffix != "" ||
		len(spec.Patches) > 0 || len(spec.Images) > 0 || len(spec.Components) > 0 || len(spec.BuildMetadata) > 0
}

// applySpec edits the kustomization as kustomize-controller does: single
// values are replaced, patches and components come after those that are there,
// and images override those of the same name.
func applySpec(k *types.Kustomization, spec *kustomizev1.KustomizationSpec) error {
	if spec.TargetNamespace != "" {
		k.Namespace = spec.TargetNamespace
	}
	if spec.NamePrefix != "" {
		k.NamePrefix = spec.NamePrefix
	}
	if spec.NameSuffix != "" {
		k.NameSuffix = spec.NameSuffix
	}
	for _, p := range spec.Patches {
		raw, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("convert patch: %w", err)
		}
		var patch types.Patch
		if err := json.Unmarshal(raw, &patch); err != nil {
			return fmt.Errorf("convert patch: %w", err)
		}
		k.Patches = append(k.Patches, patch)
	}
	for _, i := range spec.Images {
		image := types.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest}
		at := slices.IndexFunc(k.Images, func(have types.Image) bool { return have.Name == i.Name })
		if at >= 0 {
			k.Images[at] = image
		} else {
			k.Images = append(k.Images, image)
		}
	}
	for _, m := range spec.BuildMetadata {
		if !slices.Contains(k.BuildMetadata, string(m)) {
			k.BuildMetadata = append(k.BuildMetadata, string(m))
		}
	}
	for _, c := range spec.Components {
		if !slices.Contains(k.Components, c) {
			k.Components = append(k.Components, c)
		}
	}
	return nil
}

// setCommonMetadata sets the labels and annotations on every object, as
// kustomize-controller does after the build: on the objects themselves only,
// over what they have. It sets them on copies: a Cache may have the objects.
func setCommonMetadata(items []Item, common *kustomizev1.CommonMetadata) {
	if common == nil {
		return
	}
	for i, it := range items {
		obj := it.Object.DeepCopyObject().(object.Object)
		obj.SetLabels(merged(obj.GetLabels(), common.Labels))
		obj.SetAnnotations(merged(obj.GetAnnotations(), common.Annotations))
		items[i].Object = obj
	}
}

func merged(have, add map[string]string) map[string]string {
	if have == nil && len(add) > 0 {
		have = make(map[string]string, len(add))
	}
	maps.Copy(have, add)
	return have
}

// errPrepare tells kustomize to stop; the faults themselves are in build.errs.
var errPrepare = errors.New("the kustomization is refused")
