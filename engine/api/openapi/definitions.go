// Package openapi describes the served kinds: the OpenAPI documents that
// kubectl explain, diff and apply read, and the merge rules of server-side
// apply.
//
//	Go sources ──go generate──▶ definitions.json.gz ──┬─▶ [TypeConverter]
//	                            routes of the server ──┴─▶ [Install]: /openapi/v2, /openapi/v3
//
// The definitions are embedded compressed. Documents are built when they are
// first asked for and kept compressed, so an idle server holds none of them in
// memory. Everything is safe for concurrent use.
package openapi

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/emicklei/go-restful/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/schemamutation"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"headway.dev/engine/api/openapi/names"
	"headway.dev/manifests/model/scheme"
)

//go:generate go run ./gen definitions.json.gz

//go:embed definitions.json.gz
var compressed []byte

const refPrefix = "#/definitions/"

// definitions decodes the embedded definitions, by name, and marks those of
// kinds as such.
func definitions() (map[string]*spec.Schema, error) {
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("read OpenAPI definitions: %w", err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("read OpenAPI definitions: %w", err)
	}
	out := map[string]*spec.Schema{}
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("decode OpenAPI definitions: %w", err)
	}
	objects := []runtime.Object{
		&autoscalingv1.Scale{}, &corev1.Binding{}, &policyv1.Eviction{},
		&authorizationv1.SelfSubjectAccessReview{}, &authorizationv1.SelfSubjectRulesReview{}, &authenticationv1.SelfSubjectReview{},
		&authorizationv1.SubjectAccessReview{}, &authorizationv1.LocalSubjectAccessReview{},
		&authenticationv1.TokenReview{}, &authenticationv1.TokenRequest{},
		&metricsv1beta1.NodeMetrics{}, &metricsv1beta1.NodeMetricsList{}, &metricsv1beta1.PodMetrics{}, &metricsv1beta1.PodMetricsList{},
	}
	for _, kind := range scheme.Kinds() {
		objects = append(objects, kind.New(), kind.NewList())
	}
	for _, older := range scheme.Older() {
		objects = append(objects, older.New(), older.NewList())
	}
	for _, view := range scheme.Views() {
		objects = append(objects, view.New(), view.NewList())
	}
	for _, obj := range objects {
		name := names.Canonical(util.GetCanonicalTypeName(obj))
		s, ok := out[name]
		if !ok {
			return nil, fmt.Errorf("no OpenAPI definition of %s: run go generate in engine/api/openapi", name)
		}
		gvks, _, err := scheme.Scheme.ObjectKinds(obj)
		if err != nil {
			return nil, fmt.Errorf("OpenAPI definition of %s: %w", name, err)
		}
		kinds := []any{}
		for _, gvk := range gvks {
			if gvk.Version != runtime.APIVersionInternal {
				kinds = append(kinds, map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind})
			}
		}
		s.AddExtension(kindExtension, kinds)
	}
	return out, nil
}

const kindExtension = "x-kubernetes-group-version-kind"

// withMeta marks the kinds that belong to no group, and those that belong to each of
// versions, too.
func withMeta(all map[string]*spec.Schema, versions ...schema.GroupVersion) map[string]*spec.Schema {
	const prefix = "io.k8s.apimachinery.pkg.apis.meta.v1."
	for _, name := range []string{"APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status", "DeleteOptions", "WatchEvent"} {
		s := all[prefix+name]
		if s == nil {
			continue
		}
		kinds := []any{map[string]any{"group": "", "version": "v1", "kind": name}}
		for _, gv := range versions {
			if gv.Group != "" && (name == "DeleteOptions" || name == "WatchEvent") {
				kinds = append(kinds, map[string]any{"group": gv.Group, "version": gv.Version, "kind": name})
			}
		}
		s.AddExtension(kindExtension, kinds)
	}
	return all
}

// versionsOf are the group versions that services serve.
func versionsOf(services ...*restful.WebService) []schema.GroupVersion {
	var versions []schema.GroupVersion
	for _, service := range services {
		if path, ok := strings.CutPrefix(service.RootPath(), "/apis/"); ok && strings.Contains(path, "/") {
			if gv, err := schema.ParseGroupVersion(path); err == nil {
				versions = append(versions, gv)
			}
		}
	}
	return versions
}

// withRefs returns the definitions in the form in which the library wants
// generated ones: with references made by ref, and the names they refer to.
func withRefs(in map[string]*spec.Schema, ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	out := make(map[string]common.OpenAPIDefinition, len(in))
	for name, s := range in {
		var dependencies []string
		walker := schemamutation.Walker{
			SchemaCallback: schemamutation.SchemaCallBackNoop,
			RefCallback: func(r *spec.Ref) *spec.Ref {
				target, ok := strings.CutPrefix(r.String(), refPrefix)
				if !ok {
					return r
				}
				dependencies = append(dependencies, target)
				replaced := ref(target)
				return &replaced
			},
		}
		out[name] = common.OpenAPIDefinition{Schema: *walker.WalkSchema(s), Dependencies: dependencies}
	}
	return out
}

// goNames are the names by which the library asks for the kinds whose Go types
// have no model name.
func goNames() []string {
	var out []string
	for _, kind := range scheme.Kinds() {
		for _, obj := range []runtime.Object{kind.New(), kind.NewList()} {
			if name := util.GetCanonicalTypeName(obj); strings.Contains(name, "/") {
				out = append(out, name)
			}
		}
	}
	return out
}
