package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/kustomize/api/konfig"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/sops"
	"headway.dev/manifests/yaml/substitute"
)

// Source is where in the tree an object came from.
type Source struct {
	File string // slash-separated path from the tree's root
	Line int    // 1-based line of the document's first key; 0 if unknown
}

// String is "file:line".
func (s Source) String() string {
	if s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// Item is one object of the tree, decoded strictly, without defaults.
type Item struct {
	Object object.Object
	Source Source

	at     *position
	hidden *hidden
	left   string
}

// LeftOut is the reason why the item is not made, and empty if it is. If it is
// not, only the kind, the namespace and the name are right. See Options.Blind.
func (i Item) LeftOut() string { return i.left }

// leftOut is what is said of an object that is left out.
const leftOut = "depends on a Secret or on encrypted values, which you may not read"

// Line returns the line in Source.File of the field at path, in the notation of
// field.Error and of package diff (spec.containers[0].image,
// metadata.labels[app], spec.ports[name=http]). If the file does not contain
// the field, because it is missing or was set by a kustomization, it is the
// line of the nearest enclosing field that the file contains.
func (i Item) Line(path string) int { return i.at.lineOf(path, i.Source.Line) }

// Fault returns an error about one field of the item.
func (i Item) Fault(field, reason string) *Error {
	return &Error{
		Source: Source{File: i.Source.File, Line: i.Line(field)},
		Object: describe(i.Object.GetObjectKind().GroupVersionKind().Kind, i.Object.GetName()),
		Field:  field,
		Reason: reason,
	}
}

// Error is one fault in the tree. A load collects all of them.
type Error struct {
	Source Source
	// Object is "Kind/name", as far as the document names them.
	Object string
	// Field is the path in the object (spec.replicas), if the fault has one.
	Field  string
	Reason string

	cause error
}

// Unwrap returns the cause, if it is one that callers distinguish: ErrBudget,
// or the error of a context that ended.
func (e *Error) Unwrap() error { return e.cause }

// Error is "file:line: Kind/name: field: reason".
func (e *Error) Error() string {
	parts := make([]string, 0, 4)
	for _, p := range []string{e.Source.String(), e.Object, e.Field, e.Reason} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// Errors lists the faults that err, as a load returned it, consists of.
func Errors(err error) []*Error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var out []*Error
		for _, e := range joined.Unwrap() {
			out = append(out, Errors(e)...)
		}
		return out
	}
	if one, ok := errors.AsType[*Error](err); ok {
		return []*Error{one}
	}
	return nil
}

// Options bound and shape a load. Zero limits mean the defaults.
type Options struct {
	MaxFiles      int   // files and directories looked at; 100,000
	MaxFileBytes  int64 // of one file; 5 MiB
	MaxTotalBytes int64 // of all files read; 256 MiB
	MaxObjects    int   // 50,000

	// Build, if set, changes what is built as the fields targetNamespace,
	// namePrefix, nameSuffix, commonMetadata, patches, images, components,
	// ignoreMissingComponents and buildMetadata of a Flux Kustomization do. Its
	// other fields are ignored.
	Build *kustomizev1.KustomizationSpec

	// Decrypt, if set, decrypts files that SOPS encrypted: manifests, patches,
	// sources of secret generators, and files within Secrets.
	Decrypt func(name string, data []byte) (sops.File, error)
	// Substitute, if set, substitutes variables in what was built.
	Substitute *substitute.Vars
	// Blind omits what depends on secrets: Decrypt is sops.Placeholders, and
	// Substitute may not know all variables. What is omitted reveals nothing
	// about any value, not even by whether it would be valid.
	Blind bool
	// Inputs identifies what Decrypt and Substitute use, for the Cache.
	Inputs string

	// Cache, if set, avoids repeating work for what has not changed since
	// previous loads.
	Cache *Cache
}

func (o Options) withDefaults() Options {
	o.MaxFiles = cmp.Or(o.MaxFiles, 100_000)
	o.MaxFileBytes = cmp.Or(o.MaxFileBytes, 5<<20)
	o.MaxTotalBytes = cmp.Or(o.MaxTotalBytes, 256<<20)
	o.MaxObjects = cmp.Or(o.MaxObjects, 50_000)
	return o
}

// Dir loads the directory dir of tree: through kustomize if it has a
// kustomization file, else every *.yaml, *.yml and *.json below it in lexical
// order (as Flux's generated kustomization does), where a directory below that
// has a kustomization file is built as such. Files and directories whose names
// begin with a dot are left out, and so are JSON files that are not API
// objects. It ends when ctx does. On error it returns a joined error of *Error values (errors.Join),
// and no items.
func Dir(ctx context.Context, tree fs.FS, dir string, opts Options) ([]Item, error) {
	dir = path.Clean(strings.TrimPrefix(dir, "/"))
	if opts.Cache != nil {
		opts.Cache.begin()
	}
	l := &loader{ctx: ctx, tree: newTreeFS(tree, opts.withDefaults())}
	if kind := l.tree.kind(dir); kind != kindDir {
		l.fail(Source{File: dir}, "%s", kind.problem("directory"))
	} else if opts.Build != nil && changesBuild(opts.Build) {
		l.buildWith(dir, opts.Build)
	} else {
		l.dir(dir)
	}
	if opts.Build != nil {
		setCommonMetadata(l.items, opts.Build.CommonMetadata)
	}
	return l.result()
}

// Bytes decodes one file of YAML or JSON. On error it returns a joined error
// of *Error values and no items.
func Bytes(file string, data []byte) ([]Item, error) {
	l := &loader{ctx: context.Background(), tree: newTreeFS(nil, Options{}.withDefaults())}
	l.file(file, data)
	return l.result()
}

// loader gathers the items and faults of one load.
type loader struct {
	ctx   context.Context //nolint:containedctx // of the one load
	tree  *treeFS
	items []Item
	errs  []*Error
	full  bool

	// varies says that what was loaded depends on Options.Inputs.
	varies bool
	// paired is a load of two, standIn that with placeholders for secrets.
	paired, standIn bool
	// seen is how the objects with placeholders are named, also those that
	// could not be decoded; named says that names were checked already.
	seen  []naming
	named bool
	// renamed are names that depend on secrets, and the ones in the other load.
	renamed map[string]string
}

func (l *loader) fail(at Source, format string, args ...any) {
	l.errs = append(l.errs, &Error{Source: at, Reason: fmt.Sprintf(format, args...)})
}

func (l *loader) add(it Item) {
	if len(l.items) >= l.tree.opts.MaxObjects {
		if !l.full {
			l.full = true
			l.fail(it.Source, "more than %d objects; split the tree into several Kustomizations", l.tree.opts.MaxObjects)
		}
		return
	}
	l.items = append(l.items, it)
}

func (l *loader) result() ([]Item, error) {
	if err := l.ctx.Err(); err != nil && len(l.errs) == 0 {
		return nil, context.Cause(l.ctx)
	}
	l.rejectDuplicates()
	if len(l.errs) == 0 {
		return l.items, nil
	}
	slices.SortStableFunc(l.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Source.File, b.Source.File), cmp.Compare(a.Source.Line, b.Source.Line))
	})
	joined := make([]error, len(l.errs))
	for i, e := range l.errs {
		joined[i] = e
	}
	return nil, errors.Join(joined...)
}

// rejectDuplicates refuses two declarations of one object: which of them won
// would depend on the names of the files.
func (l *loader) rejectDuplicates() {
	first := make(map[object.Key]Source, len(l.items))
	for _, it := range l.items {
		key, err := scheme.KeyOf(it.Object)
		if err != nil || key.Name == "" {
			continue
		}
		if at, ok := first[key]; ok {
			l.errs = append(l.errs, it.Fault("", fmt.Sprintf("declared more than once; first in %s", at)))
			continue
		}
		first[key] = it.Source
	}
}

// dir loads a directory in the way that its contents ask for.
func (l *loader) dir(dir string) {
	if l.isKustomization(dir) {
		l.cachedBuild(dir, func() { l.build(dir, nil) })
		return
	}
	l.walk(dir, func(p string, isDir bool) {
		if isDir {
			l.cachedBuild(p, func() { l.build(p, nil) })
		} else if l.ctx.Err() != nil || l.knownFile(p) {
			return
		} else if data, err := l.tree.read(p); err != nil {
			l.fail(Source{File: p}, "%v", err)
		} else if path.Ext(p) != ".json" || isManifestJSON(data) {
			l.cachedFile(p, data)
		}
	})
}

// walk visits the manifest files below dir in lexical order, and the
// directories with a kustomization file, whose contents it leaves out.
func (l *loader) walk(dir string, visit func(p string, isDir bool)) {
	entries, err := l.tree.readDir(dir)
	if err != nil {
		l.fail(Source{File: dir}, "%v", err)
		return
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		ext := path.Ext(e.Name())
		manifest := ext == ".yaml" || ext == ".yml" || ext == ".json"
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.Type()&fs.ModeSymlink != 0:
			// Other links (README.md, LICENSE) have no part in what is built.
			if manifest || ext == "" {
				l.fail(Source{File: p}, "%s", kindSymlink.problem("file"))
			}
		case e.IsDir() && l.isKustomization(p):
			visit(p, true)
		case e.IsDir():
			l.walk(p, visit)
		case manifest && e.Type().IsRegular():
			visit(p, false)
		}
	}
}

func (l *loader) isKustomization(dir string) bool {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if l.tree.kind(path.Join(dir, name)) != kindMissing {
			return true
		}
	}
	return false
}

func describe(kind, name string) string {
	switch {
	case kind == "":
		return name
	case name == "":
		return kind
	}
	return kind + "/" + name
}
