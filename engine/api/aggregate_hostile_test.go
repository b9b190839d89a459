package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"headway.dev/engine/api/apitest"
)

// Servers that hang, never end, redirect or lie change nothing for others, and what
// they say of what is not theirs does not count.
func TestHostileAggregatedAPIs(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	ended := make(chan struct{})
	endless := func(w http.ResponseWriter, r *http.Request) {
		for block := bytes.Repeat([]byte(" "), 64<<10); ; {
			if _, err := w.Write(block); err != nil || r.Context().Err() != nil {
				return
			}
		}
	}
	servers := map[string]http.HandlerFunc{
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-ended:
			}
		},
		"endless": endless,
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		},
		"lies": lies,
		"old":  old,
		"garbage": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", discovery.AcceptV2)
			_, _ = w.Write([]byte(strings.Repeat("[", 100_000)))
		},
	}
	for name, handler := range servers {
		put(t, s, serviceFor(name), sliceFor(t, name, tlsServer(t, s, handler, name)), apiServiceFor(s, name, name+".example.com"))
	}
	t.Cleanup(func() { close(ended) })

	available(t, s, "v1.lies.example.com", "Passed")
	lying := schema.GroupVersion{Group: "lies.example.com", Version: "v1"}
	eventually(t, "the one that lies is listed and described", func() bool {
		v, ok := discovered(t, s, lying)
		_, index := raw(t, s, "/openapi/v3")
		return ok && len(v.Resources) == 1 && v.Resources[0].Resource == "lies" && strings.Contains(index, `"apis/lies.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/lies.example.com/v1?hash=1"}`)
	})
	if v, ok := discovered(t, s, schema.GroupVersion{Group: "apps", Version: "v1"}); !ok || len(v.Resources) < 2 || v.Freshness != "Current" {
		t.Errorf("apps/v1 = %+v", v)
	}
	if _, ok := discovered(t, s, schema.GroupVersion{Group: "apps", Version: "v9"}); ok {
		t.Error("a server has added a version to a group that is not its own")
	}
	code, body := raw(t, s, "/openapi/v2")
	if code != http.StatusOK || !strings.Contains(body, `"/apis/lies.example.com/v1/lies"`) || !strings.Contains(body, `"/api/v1/pods"`) || strings.Contains(body, "stolen") {
		t.Errorf("OpenAPI 2: %d, %d bytes", code, len(body))
	}
	if _, body := raw(t, s, "/openapi/v3/api/v1"); strings.Contains(body, "stolen") {
		t.Error("OpenAPI 3 of v1 is somebody else's")
	}

	// One that knows neither aggregated discovery nor OpenAPI 3 is listed and described
	// all the same.
	aged := schema.GroupVersion{Group: "old.example.com", Version: "v1"}
	eventually(t, "the old one is listed and described", func() bool {
		v, ok := discovered(t, s, aged)
		_, doc := raw(t, s, "/openapi/v3/apis/old.example.com/v1")
		return ok && len(v.Resources) == 1 && v.Resources[0].Resource == "coins" && v.Resources[0].ResponseKind.Kind == "Coin" && strings.Contains(doc, `"/apis/old.example.com/v1/coins"`)
	})
	if m := available(t, s, "v1.redirects.example.com", "FailedDiscoveryCheck"); !strings.Contains(m, ": 302") {
		t.Error(m)
	}
	for _, name := range []string{"endless", "garbage"} {
		// It answers, with what says nothing.
		available(t, s, "v1."+name+".example.com", "Passed")
		gv := schema.GroupVersion{Group: name + ".example.com", Version: "v1"}
		eventually(t, name+" is stale", func() bool {
			v, ok := discovered(t, s, gv)
			return ok && v.Freshness == "Stale"
		})
	}
	if m := available(t, s, "v1.hangs.example.com", "FailedDiscoveryCheck"); !strings.Contains(m, "failing or missing response from https:") {
		t.Error(m)
	}
}

// old is an API server of long ago.
func old(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/apis":
		_, _ = w.Write([]byte(`{"kind": "APIGroupList", "groups": []}`))
	case "/apis/old.example.com/v1":
		_, _ = w.Write([]byte(`{"kind": "APIResourceList", "groupVersion": "old.example.com/v1", "resources": [{"name": "coins", "singularName": "coin", "namespaced": false, "kind": "Coin", "verbs": ["get"]}]}`))
	case "/openapi/v2":
		_, _ = w.Write([]byte(`{"swagger": "2.0", "info": {"title": "old", "version": "1"}, "paths": {"/apis/old.example.com/v1/coins": {"get": {"responses": {"200": {"description": "OK"}}}}}}`))
	default:
		http.NotFound(w, r)
	}
}

// lies says a lot, and little of what it serves.
func lies(w http.ResponseWriter, r *http.Request) {
	const group = `{"metadata": {"name": %q}, "versions": [{"version": %q, "freshness": "Current", "resources": [{"resource": %q, "scope": "Cluster", "verbs": ["get"]}]}]}`
	switch r.URL.Path {
	case "/apis":
		w.Header().Set("Content-Type", discovery.AcceptV2)
		_, _ = fmt.Fprintf(w, `{"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [`+group+", "+group+", "+group+`]}`,
			"apps", "v1", "stolen", "apps", "v9", "stolen", "lies.example.com", "v1", "lies")
	case "/openapi/v3":
		_, _ = w.Write([]byte(`{"paths": {"api/v1": {"serverRelativeURL": "/stolen"}, "apis/lies.example.com/v1": {"serverRelativeURL": "https://example.org/stolen?hash=1"}}}`))
	case "/openapi/v2":
		_, _ = w.Write([]byte(`{"swagger": "2.0", "info": {"title": "stolen", "version": "1"}, "paths": {"/api/v1/pods": {"get": {"description": "stolen"}}, "/apis/lies.example.com/v1/lies": {"get": {"responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}}}}}},
			"definitions": {"io.k8s.api.core.v1.Pod": {"type": "object", "properties": {"own": {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}}}}}`))
	default:
		_, _ = w.Write([]byte("{}"))
	}
}
