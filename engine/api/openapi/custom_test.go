package openapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/emicklei/go-restful/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server/mux"

	"headway.dev/engine/api/openapi"
)

// definitions are all that there are.
type definitions []*apiextensionsv1.CustomResourceDefinition

func (d definitions) Definitions() []*apiextensionsv1.CustomResourceDefinition { return d }

func (d definitions) Definition(name string) *apiextensionsv1.CustomResourceDefinition {
	i := slices.IndexFunc(d, func(crd *apiextensionsv1.CustomResourceDefinition) bool { return crd.Name == name })
	return d[i]
}

// A definition that cannot be described is missing in the document of everything; the
// others are in it.
func TestBadDefinitionIsLeftOut(t *testing.T) {
	definition := func(kind string, schema apiextensionsv1.JSONSchemaProps) *apiextensionsv1.CustomResourceDefinition {
		plural := strings.ToLower(kind) + "s"
		names := apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"}
		return &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Names: names, Scope: apiextensionsv1.ClusterScoped, Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
				{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &schema}},
			}},
			Status: apiextensionsv1.CustomResourceDefinitionStatus{AcceptedNames: names},
		}
	}
	good := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object"}}}
	bad := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", Default: &apiextensionsv1.JSON{Raw: []byte("{")}}}}
	routes := mux.NewPathRecorderMux("test")
	var log strings.Builder
	openapi.Install(routes, restful.NewContainer(), "v1", definitions{definition("First", good), definition("Broken", bad), definition("Last", good)}, func() []openapi.Foreign { return nil }, slog.New(slog.NewTextHandler(&log, nil)))
	w := httptest.NewRecorder()
	routes.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/openapi/v2", http.NoBody))
	body := w.Body.String()
	if w.Code != http.StatusOK || !strings.Contains(body, "com.example.v1.First") || !strings.Contains(body, "com.example.v1.Last") || strings.Contains(body, "com.example.v1.Broken") {
		t.Errorf("answered %d, %.300s", w.Code, body)
	}
	if !strings.Contains(log.String(), "brokens.example.com") {
		t.Errorf("the log does not name it: %s", log.String())
	}
}
