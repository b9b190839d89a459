package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"headway.dev/engine/api/openapi/names"
)

// How a client authenticates, for programs that are made from the documents.
const (
	bearer     = "BearerToken"
	bearerText = "Bearer Token authentication"
)

const (
	jsonType    = "application/json"
	protoTypeV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protoTypeV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
)

// Install serves /openapi/v2 and, for each group version in container and of what
// the definitions define and others serve, /openapi/v3. Call it once all groups are in the
// container. version makes clients fetch documents again if another version of
// the server made them.
func Install(mux *mux.PathRecorderMux, container *restful.Container, version string, definitions Definitions, foreign func() []Foreign, log *slog.Logger) {
	tag := hash(version)
	services := container.RegisteredWebServices()
	dynamic := &custom{definitions: definitions, foreign: foreign, tag: tag, log: log, documents: map[string]*document{}, static: func() (*spec.Swagger, error) {
		return documentV2(services, version)
	}}
	mux.HandleFunc("/openapi/v2", func(w http.ResponseWriter, r *http.Request) { dynamic.v2().ServeHTTP(w, r) })
	mux.HandlePrefix("/openapi/v3/apis/", dynamic)
	index := map[string]map[string]string{}
	for _, service := range services {
		path := strings.TrimPrefix(service.RootPath(), "/")
		index[path] = map[string]string{"serverRelativeURL": "/openapi/v3/" + path + "?hash=" + tag}
		mux.Handle("/openapi/v3/"+path, &document{protoType: protoTypeV3, tag: tag, toProto: handler3.ToV3ProtoBinary, build: func() ([]byte, error) {
			return documentV3(service, version)
		}})
	}
	mux.HandleFunc("/openapi/v3", func(w http.ResponseWriter, _ *http.Request) {
		paths := maps.Clone(index)
		all := dynamic.tags()
		for path, tag := range all.versions {
			if _, own := index[path]; !own {
				paths[path] = map[string]string{"serverRelativeURL": "/openapi/v3/" + path + "?hash=" + tag}
			}
		}
		w.Header().Set("Content-Type", jsonType)
		w.Header().Set("Etag", strconv.Quote(all.whole))
		_ = json.NewEncoder(w).Encode(map[string]any{"paths": paths}) // the client is gone
	})
}

// hash changes whenever a document may: with the definitions and the program.
func hash(version string) string {
	h := sha256.New()
	h.Write(compressed)
	h.Write([]byte(version))
	if info, ok := debug.ReadBuildInfo(); ok {
		h.Write([]byte(info.String()))
	}
	return strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// operation names the operation of a route as Kubernetes' documents do.
func operation(r common.Route) (string, []string, error) {
	if route, ok := r.(*restfuladapter.RouteAdapter); ok {
		return openapi.GetOperationIDAndTags(route.Route)
	}
	return r.OperationName(), nil, nil
}

func definitionName(name string) (string, spec.Extensions) { return names.Canonical(name), nil }

func documentV3(service *restful.WebService, version string) ([]byte, error) {
	all, err := definitions()
	if err != nil {
		return nil, err
	}
	config := &common.OpenAPIV3Config{
		Info:            info(version),
		DefaultResponse: &spec3.Response{ResponseProps: spec3.ResponseProps{Description: "Default Response."}},
		CommonResponses: map[int]*spec3.Response{http.StatusUnauthorized: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}}},
		SecuritySchemes: spec3.SecuritySchemes{bearer: {SecuritySchemeProps: spec3.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: bearerText,
		}}},
		DefaultSecurity:                []map[string][]string{{bearer: {}}},
		GetOperationIDAndTagsFromRoute: operation,
		GetDefinitionName:              definitionName,
		GetDefinitions:                 canonical(withMeta(oneOf(all), versionsOf(service)...)),
	}
	config.Definitions = config.GetDefinitions(func(name string) spec.Ref {
		return spec.MustCreateRef("#/components/schemas/" + names.Canonical(name))
	})
	doc, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), config)
	if err != nil {
		return nil, fmt.Errorf("describe %s: %w", service.RootPath(), err)
	}
	return json.Marshal(doc)
}

// oneOf describes the types with several forms, for which the second version of
// OpenAPI has no words.
func oneOf(all map[string]*spec.Schema) map[string]*spec.Schema {
	for name, forms := range map[string][]string{
		"io.k8s.apimachinery.pkg.api.resource.Quantity":   resource.Quantity{}.OpenAPIV3OneOfTypes(),
		"io.k8s.apimachinery.pkg.util.intstr.IntOrString": intstr.IntOrString{}.OpenAPIV3OneOfTypes(),
	} {
		if s := all[name]; s != nil {
			s.Type, s.OneOf = nil, common.GenerateOpenAPIV3OneOfSchema(forms)
		}
	}
	return all
}

func documentV2(services []*restful.WebService, version string) (*spec.Swagger, error) {
	all, err := definitions()
	if err != nil {
		return nil, err
	}
	config := &common.Config{
		ProtocolList:    []string{"https"},
		Info:            info(version),
		DefaultResponse: &spec.Response{ResponseProps: spec.ResponseProps{Description: "Default Response."}},
		CommonResponses: map[int]spec.Response{http.StatusUnauthorized: {ResponseProps: spec.ResponseProps{Description: "Unauthorized"}}},
		SecurityDefinitions: &spec.SecurityDefinitions{bearer: {SecuritySchemeProps: spec.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: bearerText,
		}}},
		DefaultSecurity:                []map[string][]string{{bearer: {}}},
		GetOperationIDAndTagsFromRoute: operation,
		GetDefinitionName:              definitionName,
		GetDefinitions:                 canonical(withMeta(all, versionsOf(services...)...)),
	}
	doc, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), config)
	if err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	doc.Definitions = handler.PruneDefaults(doc.Definitions)
	return doc, nil
}

// canonical offers the definitions under the names that the library asks by,
// too: the paths of Go types without a model name.
func canonical(all map[string]*spec.Schema) common.GetOpenAPIDefinitions {
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		out := withRefs(all, ref)
		for _, path := range goNames() {
			if d, ok := out[names.Canonical(path)]; ok {
				out[path] = d
			}
		}
		return out
	}
}

func info(version string) *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: version}}
}

// document is one OpenAPI document, built when first asked for and kept
// compressed.
type document struct {
	build     func() ([]byte, error)
	toProto   func([]byte) ([]byte, error)
	protoType string
	tag       string

	mu          sync.Mutex
	json, proto []byte // gzip
}

// ServeHTTP implements http.Handler.
func (d *document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	contentType := jsonType
	if accept := r.Header.Get("Accept"); strings.Contains(accept, "proto-openapi") && !strings.Contains(accept, jsonType) {
		contentType = d.protoType
	}
	data, err := d.get(contentType != jsonType)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Etag", strconv.Quote(d.tag))
	if r.URL.Query().Get("hash") == d.tag {
		// The address names the content, so clients need not ask again.
		h.Set("Cache-Control", "public, immutable")
	}
	if r.Header.Get("If-None-Match") == strconv.Quote(d.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(data) // the client is gone
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.Copy(w, z) // the client is gone
}

func (d *document) get(proto bool) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if proto && d.proto != nil {
		return d.proto, nil
	}
	if !proto && d.json != nil {
		return d.json, nil
	}
	data, err := d.build()
	if err != nil {
		return nil, err
	}
	if !proto {
		d.json, err = zip(data)
		return d.json, err
	}
	if data, err = d.toProto(data); err != nil {
		return nil, fmt.Errorf("encode OpenAPI document: %w", err)
	}
	d.proto, err = zip(data)
	return d.proto, err
}

func zip(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(buf.Bytes()), nil
}
