package openapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"headway.dev/manifests/guard"
)

// custom serves the documents that custom resources are part of. What they are
// made of is compared by tags, which cost nothing; a document is built when it is
// asked for, and kept until its tag changes.
type custom struct {
	// foreign is what other servers describe.
	foreign     func() []Foreign
	definitions Definitions
	// static describes the other kinds, and tag changes with them.
	static func() (*spec.Swagger, error)
	tag    string
	log    *slog.Logger

	mu        sync.Mutex
	documents map[string]*document
}

// Definitions are those of the custom resources that are served.
type Definitions interface {
	// Definitions returns them without their schemas.
	Definitions() []*apiextensionsv1.CustomResourceDefinition
	// Definition returns one with its schemas, nil if there is none.
	Definition(name string) *apiextensionsv1.CustomResourceDefinition
}

// tagged are the tags of the documents of custom resources and of what other servers
// serve, by the path of their group version, and that of all together.
type tagged struct {
	versions map[string]string
	whole    string
}

func (c *custom) tags() tagged {
	sums := map[string][]byte{}
	whole := sha256.New()
	_, _ = io.WriteString(whole, c.tag)
	for _, crd := range c.definitions.Definitions() {
		// Only a new generation, or other names, describe something else.
		one := fmt.Sprintf("%s %s %d %+v\n", c.tag, crd.UID, crd.Generation, crd.Status.AcceptedNames)
		_, _ = io.WriteString(whole, one)
		for _, v := range crd.Spec.Versions {
			if v.Served {
				path := pathOf(crd, v.Name)
				sum := sha256.Sum256(append(sums[path], one...))
				sums[path] = sum[:]
			}
		}
	}
	t := tagged{versions: map[string]string{}}
	for path, sum := range sums {
		t.versions[path] = strings.ToUpper(hex.EncodeToString(sum))
	}
	for _, f := range c.foreign() {
		t.versions[f.Path] = f.Tag
		_, _ = fmt.Fprintf(whole, "%s %s %s\n", f.Path, f.Tag, f.V2Tag)
	}
	t.whole = strings.ToUpper(hex.EncodeToString(whole.Sum(nil)))
	return t
}

func pathOf(crd *apiextensionsv1.CustomResourceDefinition, version string) string {
	return "apis/" + crd.Spec.Group + "/" + version
}

// ServeHTTP implements http.Handler: it serves /openapi/v3/apis/GROUP/VERSION of
// custom resources.
func (c *custom) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/openapi/v3/")
	all := c.tags()
	c.forget(all)
	if f, ok := c.foreignAt(path); ok {
		if f.V3 == nil {
			f.V3 = c.converted(f)
		}
		f.V3.ServeHTTP(w, r)
		return
	}
	tag, ok := all.versions[path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	c.document(path, tag, func() *document {
		return &document{protoType: protoTypeV3, tag: tag, toProto: handler3.ToV3ProtoBinary, build: func() ([]byte, error) { return c.buildV3(path) }}
	}).ServeHTTP(w, r)
}

// v2 returns the document of everything.
func (c *custom) v2() *document {
	all := c.tags()
	c.forget(all)
	return c.document("", all.whole, func() *document {
		return &document{protoType: protoTypeV2, tag: all.whole, toProto: handler.ToProtoBinary, build: c.buildV2}
	})
}

// document returns the document with a tag, which is made if there is another.
func (c *custom) document(path, tag string, create func() *document) *document {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.documents[path]
	if d == nil || d.tag != tag {
		d = create()
		c.documents[path] = d
	}
	return d
}

// forget drops the documents of what is no longer served.
func (c *custom) forget(all tagged) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path := range c.documents {
		if _, ok := all.versions[path]; !ok && path != "" {
			delete(c.documents, path)
		}
	}
}

func (c *custom) buildV3(path string) ([]byte, error) {
	var docs []*spec3.OpenAPI
	for _, crd := range c.definitions.Definitions() {
		for _, v := range crd.Spec.Versions {
			if !v.Served || pathOf(crd, v.Name) != path {
				continue
			}
			whole := c.definitions.Definition(crd.Name)
			if whole == nil {
				continue // it was deleted meanwhile
			}
			doc, err := crdbuilder.BuildOpenAPIV3(whole, v.Name, crdbuilder.Options{IncludeSelectableFields: true})
			if err != nil {
				return nil, fmt.Errorf("describe %s: %w", crd.Name, err)
			}
			docs = append(docs, doc)
		}
	}
	merged, err := crdbuilder.MergeSpecsV3(docs...)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", path, err)
	}
	return json.Marshal(merged)
}

func (c *custom) buildV2() ([]byte, error) {
	doc, err := c.static()
	if err != nil {
		return nil, err
	}
	var docs []*spec.Swagger
	for _, crd := range c.definitions.Definitions() {
		for _, v := range crd.Spec.Versions {
			if !v.Served {
				continue
			}
			whole := c.definitions.Definition(crd.Name)
			if whole == nil {
				continue // it was deleted meanwhile
			}
			one, err := describe(whole, v.Name)
			if err != nil {
				// It alone is missing: who needs the others needs them all the same.
				c.log.Error("A custom resource is left out of /openapi/v2", "definition", crd.Name, "version", v.Name, "error", err)
				continue
			}
			docs = append(docs, one)
		}
	}
	foreign := c.foreign()
	if len(docs)+len(foreign) == 0 {
		return json.Marshal(doc)
	}
	for name, d := range doc.Definitions {
		if d.Extensions == nil {
			d.Extensions = spec.Extensions{} // the merge writes into it
			doc.Definitions[name] = d
		}
	}
	doc = c.mergeCustom(doc, docs)
	c.mergeForeign(doc, foreign)
	return json.Marshal(doc)
}

// mergeCustom adds custom resources. What does not fit is left out.
func (c *custom) mergeCustom(doc *spec.Swagger, docs []*spec.Swagger) *spec.Swagger {
	if len(docs) == 0 {
		return doc
	}
	if merged, err := crdbuilder.MergeSpecs(doc, docs...); err == nil {
		return merged
	}
	for _, one := range docs {
		if merged, err := crdbuilder.MergeSpecs(doc, one); err == nil {
			doc = merged
		} else {
			c.log.Error("A custom resource is left out of /openapi/v2", "paths", slices.Sorted(maps.Keys(one.Paths.Paths)), "error", err)
		}
	}
	return doc
}

// describe is the document of one version. A panic of the library is an error.
func describe(crd *apiextensionsv1.CustomResourceDefinition, version string) (doc *spec.Swagger, err error) {
	err = guard.Call(context.Background(), "describe "+crd.Name, func() (err error) {
		if doc, err = crdbuilder.BuildOpenAPIV2(crd, version, crdbuilder.Options{V2: true, IncludeSelectableFields: true}); err == nil {
			doc.Definitions = handler.PruneDefaults(doc.Definitions)
		}
		return err
	})
	return doc, err
}
