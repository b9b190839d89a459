package load

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/types"
	syaml "sigs.k8s.io/yaml"
)

// prepare stands between the tree and kustomize. It refuses whatever would
// make kustomize reach for the network, run a program or follow a path that is
// not in the tree, and completes kustomization files for the build.
func (b *build) prepare(file string, data []byte) ([]byte, error) {
	before := len(b.errs)
	data, err := b.decrypt(file, data)
	if err != nil {
		b.refuse(Source{File: file}, "", "%v", err)
		return nil, errPrepare
	}
	for _, doc := range split(file, data) {
		if err := checkAliases(doc); err != nil {
			b.refuse(doc.source(), "", "%v", err)
		}
	}
	if len(b.errs) == before && slices.Contains(konfig.RecognizedKustomizationFileNames(), path.Base(file)) {
		data = b.prepareKustomization(file, data)
	}
	if len(b.errs) > before {
		return nil, errPrepare
	}
	return data, nil
}

func (b *build) refuse(at Source, field, format string, args ...any) {
	b.errs = append(b.errs, &Error{Source: at, Field: field, Reason: fmt.Sprintf(format, args...)})
}

var unknownField = regexp.MustCompile(`unknown field "(\w+)"`)

func (b *build) prepareKustomization(file string, data []byte) []byte {
	docs := split(file, data)
	at := &position{}
	if len(docs) == 1 {
		at.doc = docs[0]
		if dups := duplicateKeys(docs[0]); len(dups) > 0 {
			b.errs = append(b.errs, dups...)
			return data
		}
	} else {
		at.doc = newDocument(file, 1, data, false)
	}
	var k types.Kustomization
	if err := k.Unmarshal(data); err != nil {
		field := ""
		if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
			field = m[1]
		}
		b.refuse(at.source(field), field, "%v", err)
		return data
	}
	empty := k.CheckEmpty() != nil
	k.FixKustomization()
	if len(k.CommonLabels) > 0 {
		// The same under its present name; for the old one kustomize writes a
		// warning to stderr with every build.
		k.Labels = append(k.Labels, types.Label{Pairs: k.CommonLabels, IncludeSelectors: true})
		k.CommonLabels = nil
	}
	c := &kustomizationCheck{build: b, dir: path.Dir(file), at: at}
	if c.dir == b.dir {
		if b.change != nil {
			if err := b.change(&k); err != nil {
				b.refuse(at.source(""), "", "%v", err)
			}
		}
		// Where an object is from is always asked for, and only kept if the
		// kustomization asks for it, too.
		b.keeps = slices.Clone(k.BuildMetadata)
		if !slices.Contains(k.BuildMetadata, types.OriginAnnotations) {
			k.BuildMetadata = append(k.BuildMetadata, types.OriginAnnotations)
		}
	}
	c.check(&k)
	out, err := syaml.Marshal(k)
	if err != nil {
		b.refuse(at.source(""), "", "encode the kustomization: %v", err)
	}
	if !empty && len(k.Resources) == 0 {
		// Lists without an entry get lost on the way, and a kustomization that
		// has nothing else would be refused as empty.
		out = append(out, "resources: []\n"...)
	}
	return out
}

// kustomizationCheck goes through every field of one kustomization file that
// names other files.
type kustomizationCheck struct {
	*build
	dir string
	at  *position
}

func (c *kustomizationCheck) check(k *types.Kustomization) {
	c.entries("resources", k.Resources, kindFile, kindDir)
	c.entries("components", k.Components, kindDir)
	c.files("crds", k.Crds)
	c.files("configurations", k.Configurations)
	for i, p := range k.Patches {
		c.file(fmt.Sprintf("patches[%d].path", i), p.Path)
	}
	for i, p := range k.PatchesJson6902 {
		c.file(fmt.Sprintf("patchesJson6902[%d].path", i), p.Path)
	}
	for i, p := range k.PatchesStrategicMerge {
		if !strings.ContainsAny(string(p), "\n{") { // else inline
			c.file(fmt.Sprintf("patchesStrategicMerge[%d]", i), string(p))
		}
	}
	for i, r := range k.Replacements {
		c.file(fmt.Sprintf("replacements[%d].path", i), r.Path)
	}
	c.file("openapi.path", k.OpenAPI["path"])
	for i, g := range k.ConfigMapGenerator {
		c.sources(fmt.Sprintf("configMapGenerator[%d]", i), g.KvPairSources)
		c.leave(g.KvPairSources)
	}
	for i, g := range k.SecretGenerator {
		c.sources(fmt.Sprintf("secretGenerator[%d]", i), g.KvPairSources)
		for _, p := range sourceFiles(g.KvPairSources) {
			delete(c.left, path.Join(c.dir, p))
		}
	}
	c.plugins("generators", k.Generators)
	c.plugins("transformers", k.Transformers)
	c.plugins("validators", k.Validators)
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		c.fault("helmCharts", "needs the helm program; no program is run while a repository is built: commit the rendered chart")
	}
}

func (c *kustomizationCheck) fault(field, format string, args ...any) {
	c.refuse(c.at.source(field), field, format, args...)
}

// entries checks paths of files or directories and writes them so that
// kustomize cannot take one for a URL ("github.com/org/repo" may be a
// directory of the tree, but kustomize would try to clone it).
func (c *kustomizationCheck) entries(field string, paths []string, allowed ...entryKind) {
	wanted := "file or directory"
	if !slices.Contains(allowed, kindFile) {
		wanted = "directory"
	}
	for i, p := range paths {
		at := fmt.Sprintf("%s[%d]", field, i)
		kind := c.tree.kind(path.Join(c.dir, p))
		switch {
		case path.IsAbs(p):
			c.fault(at, "%s: is an absolute path; write it relative to this file", p)
		case kind == kindMissing && remote(p):
			c.fault(at, "%s: remote resources are not fetched while a repository is built; commit the files", p)
		case !slices.Contains(allowed, kind):
			c.fault(at, "%s: %s", p, kind.problem(wanted))
		case !strings.HasPrefix(p, "./") && !strings.HasPrefix(p, "../"):
			paths[i] = "./" + p
		}
	}
}

func (c *kustomizationCheck) files(field string, paths []string) {
	for i, p := range paths {
		c.file(fmt.Sprintf("%s[%d]", field, i), p)
	}
}

func (c *kustomizationCheck) file(field, p string) {
	if p == "" {
		return
	}
	kind := c.tree.kind(path.Join(c.dir, p))
	switch {
	case path.IsAbs(p):
		c.fault(field, "%s: is an absolute path; write it relative to this file", p)
	case isHTTP(p):
		c.fault(field, "%s: remote files are not fetched while a repository is built; commit the file", p)
	case kind != kindFile:
		c.fault(field, "%s: %s", p, kind.problem("file"))
	}
}

func (c *kustomizationCheck) sources(field string, s types.KvPairSources) {
	for i, f := range s.FileSources {
		if _, p, ok := strings.Cut(f, "="); ok {
			f = p
		}
		c.file(fmt.Sprintf("%s.files[%d]", field, i), f)
	}
	c.files(field+".envs", s.EnvSources)
	c.file(field+".env", s.EnvSource)
}

// sourceFiles are the files that a generator reads.
func sourceFiles(s types.KvPairSources) []string {
	files := append(slices.Clone(s.EnvSources), s.EnvSource)
	for _, f := range s.FileSources {
		if _, p, ok := strings.Cut(f, "="); ok {
			f = p
		}
		files = append(files, f)
	}
	return files
}

// leave keeps the files of a ConfigMap encrypted, as Flux does: they would be
// readable for all who can read the ConfigMap.
func (c *kustomizationCheck) leave(s types.KvPairSources) {
	for _, p := range sourceFiles(s) {
		c.left[path.Join(c.dir, p)] = true
	}
}

// plugins checks configuration objects: inline, or in files. Directories are
// refused, because what kustomize would make of their contents cannot be known
// before it acts on it.
func (c *kustomizationCheck) plugins(field string, entries []string) {
	for i, entry := range entries {
		at := fmt.Sprintf("%s[%d]", field, i)
		config := []byte(entry)
		if inline := strings.ContainsAny(entry, "\n{"); inline {
			// With a line break in front it cannot be taken for a URL if
			// kustomize, not liking it as an object, tries it as a path.
			entries[i] = "\n" + entry
		} else {
			p := path.Join(c.dir, entry)
			if c.file(at, entry); c.tree.kind(p) != kindFile {
				continue
			}
			data, err := c.tree.read(p)
			if err != nil {
				c.fault(at, "%s: %v", entry, err)
				continue
			}
			entries[i], config = "./"+strings.TrimPrefix(entry, "./"), data
		}
		for _, doc := range split(c.at.doc.file, config) {
			root, err := doc.nodes()
			if err != nil {
				c.fault(at, "parse YAML: %v", err)
				continue
			}
			c.plugin(at, root)
		}
	}
}

// plugin refuses every scalar that the loader would fetch.
func (c *kustomizationCheck) plugin(field string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		_, after, _ := strings.Cut(n.Value, "=")
		if isHTTP(n.Value) || isHTTP(after) {
			c.fault(field, "%s: remote files are not fetched while a repository is built; commit the file", n.Value)
		}
		return
	}
	for _, child := range n.Content {
		c.plugin(field, child)
	}
}

// isHTTP reports whether kustomize's loader would fetch p.
func isHTTP(p string) bool {
	u, err := url.Parse(p)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

// remote tells what was meant as a URL from a mistyped path.
func remote(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return strings.Contains(p, "://") || strings.Contains(p, "?ref=") || strings.Contains(p, "git@") ||
		strings.HasPrefix(p, "git::") || isHTTP(p) || strings.HasPrefix(strings.ToLower(first), "github.com")
}
