// Command gen reads the Go sources of the served kinds and writes their OpenAPI
// definitions, with the documentation and the list and map semantics from their
// comments, to definitions.json.gz. With a version of Kubernetes it writes what
// that publishes of its API, which tests compare with. go generate runs it.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/types"
	"log"
	"os"
	"reflect"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/kube-openapi/pkg/validation/spec"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"golang.org/x/tools/go/packages"

	"headway.dev/engine/api/openapi/names"
	"headway.dev/manifests/model/scheme"
)

func main() {
	log.SetFlags(0)
	var err error
	switch len(os.Args) {
	case 2:
		err = run(os.Args[1])
	case 3:
		err = published(os.Args[1], os.Args[2])
	default:
		log.Fatal("usage: gen [VERSION] FILE")
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(path string) error {
	roots := []any{
		autoscalingv1.Scale{},
		corev1.Binding{},
		policyv1.Eviction{},
		metav1.Status{},
		metav1.DeleteOptions{},
		metav1.Patch{},
		metav1.WatchEvent{},
		metav1.APIResourceList{},
		metav1.APIGroup{},
		metav1.APIGroupList{},
		metav1.APIVersions{},
		version.Info{},
		authorizationv1.SelfSubjectAccessReview{},
		authorizationv1.SelfSubjectRulesReview{},
		authorizationv1.SubjectAccessReview{},
		authorizationv1.LocalSubjectAccessReview{},
		authenticationv1.SelfSubjectReview{},
		authenticationv1.TokenReview{},
		authenticationv1.TokenRequest{},
		metricsv1beta1.NodeMetrics{},
		metricsv1beta1.NodeMetricsList{},
		metricsv1beta1.PodMetrics{},
		metricsv1beta1.PodMetricsList{},
	}
	for _, kind := range scheme.Kinds() {
		roots = append(roots, kind.New(), kind.NewList())
	}
	for _, older := range scheme.Older() {
		roots = append(roots, older.New(), older.NewList())
	}
	for _, view := range scheme.Views() {
		roots = append(roots, view.New(), view.NewList())
	}
	g := generator{out: map[string]spec.Schema{}, docs: map[string]*ast.CommentGroup{}, packages: map[string]*packages.Package{}}
	if err := g.load(roots); err != nil {
		return err
	}
	for _, root := range roots {
		t := reflect.Indirect(reflect.ValueOf(root)).Type()
		named, err := g.lookup(t.PkgPath(), t.Name())
		if err != nil {
			return err
		}
		if _, err := g.define(named); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
	return write(path, g.out)
}

// write compresses what it writes, in an order that does not change from run to
// run.
func write(path string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), 0o644)
}

type generator struct {
	packages map[string]*packages.Package
	// docs are the comments of types ("path.Type") and fields
	// ("path.Type.Field").
	docs map[string]*ast.CommentGroup
	out  map[string]spec.Schema
}

// load parses the packages of the roots with all their imports.
func (g *generator) load(roots []any) error {
	var paths []string
	for _, root := range roots {
		path := reflect.Indirect(reflect.ValueOf(root)).Type().PkgPath()
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedDeps,
	}, paths...)
	if err != nil {
		return fmt.Errorf("load packages: %w", err)
	}
	packages.Visit(loaded, nil, func(p *packages.Package) {
		g.packages[p.PkgPath] = p
		// The standard library has no API types.
		if strings.Contains(p.PkgPath, ".") {
			g.readDocs(p)
		}
	})
	return nil
}

func (g *generator) readDocs(p *packages.Package) {
	for _, file := range p.Syntax {
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range gen.Specs {
				ts, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				name := p.PkgPath + "." + ts.Name.Name
				g.docs[name] = ts.Doc
				if ts.Doc == nil {
					g.docs[name] = gen.Doc
				}
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range st.Fields.List {
					for _, id := range field.Names {
						g.docs[name+"."+id.Name] = field.Doc
					}
					if len(field.Names) == 0 {
						g.docs[name+"."+embeddedName(field.Type)] = field.Doc
					}
				}
			}
		}
	}
}

// embeddedName is what a field is called that has no name of its own.
func embeddedName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return embeddedName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func (g *generator) lookup(path, name string) (*types.Named, error) {
	p := g.packages[path]
	if p == nil {
		return nil, fmt.Errorf("package %s is not loaded", path)
	}
	obj := p.Types.Scope().Lookup(name)
	if obj == nil {
		return nil, fmt.Errorf("%s has no type %s", path, name)
	}
	named, ok := obj.Type().(*types.Named)
	if !ok {
		return nil, fmt.Errorf("%s.%s is no named type", path, name)
	}
	return named, nil
}

// define adds the definition of a struct type, and returns its name.
func (g *generator) define(t *types.Named) (string, error) {
	goName := t.Obj().Pkg().Path() + "." + t.Obj().Name()
	name := names.Model(t.Obj().Pkg().Path(), t.Obj().Name())
	if _, ok := g.out[name]; ok {
		return name, nil
	}
	doc := parseDoc(g.docs[goName])
	if s, ok := special[goName]; ok {
		s.Description = doc.text
		g.out[name] = s
		return name, nil
	}
	s := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Description: doc.text, Properties: map[string]spec.Schema{}}}
	if mapType := doc.markers["mapType"]; mapType != "" {
		s.AddExtension("x-kubernetes-map-type", mapType)
	}
	if structType := doc.markers["structType"]; structType != "" {
		s.AddExtension("x-kubernetes-map-type", structType)
	}
	g.out[name] = s // types refer to themselves
	st, ok := t.Underlying().(*types.Struct)
	if !ok {
		return "", fmt.Errorf("%s is no struct", goName)
	}
	if _, ok := doc.markers["union"]; ok {
		s.AddExtension("x-kubernetes-unions", []any{g.union(goName, st)})
	}
	if err := g.fields(t, st, &s); err != nil {
		return "", fmt.Errorf("%s: %w", goName, err)
	}
	g.out[name] = s
	return name, nil
}
