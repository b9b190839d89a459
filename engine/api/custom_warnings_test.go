package api_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// elsewhereGate has what is labelled so carried out elsewhere, where nothing changes.
type elsewhereGate struct{}

// Review implements registry.Gate.
func (elsewhereGate) Review(_ context.Context, w change.Request) (change.Elsewhere, error) {
	if w.Next == nil || w.Next.GetLabels()["elsewhere"] == "" {
		return nil, nil
	}
	return func(context.Context) (object.Object, error) { return w.Old, nil }, nil
}

// Answers of the library that are held back, because there is a gate or they are lists,
// keep their warnings, each once.
func TestWarningsOfCustomResources(t *testing.T) {
	s := apitest.Start(t, func(c *api.Config) { c.Gate = elsewhereGate{} })
	c := custom{s, t}
	c.run(defined("warned", `"deprecated":true,"deprecationWarning":"soon gone",`+schemaOf(`{"type":"object","properties":{"a":{"type":"string"}}}`)), "create", "-f", "-")
	c.condition("warned.hostile.example", "Established")
	client := clientOf(t, s.Config, "HTTP/2.0")
	const path = "/apis/hostile.example/v1/namespaces/default/warned"
	const soon, unknown = `299 - "soon gone"`, `299 - "unknown field \"spec.b\""`
	for _, step := range []struct {
		method, path, body string
		code               int
		warnings           []string
	}{
		{http.MethodPost, path + "?fieldValidation=Warn", `{"apiVersion":"hostile.example/v1","kind":"Warned","metadata":{"name":"x"},"spec":{"a":"1","b":"2"}}`, http.StatusCreated, []string{soon, unknown}},
		{http.MethodGet, path, "", http.StatusOK, []string{soon}},
		{http.MethodGet, path + "/x", "", http.StatusOK, []string{soon}},
		{http.MethodPatch, path + "/x?fieldValidation=Warn", `{"spec":{"a":"2","b":"2"}}`, http.StatusOK, []string{soon, unknown}},
		{http.MethodPatch, path + "/x?fieldValidation=Warn", `{"metadata":{"labels":{"elsewhere":"yes"}},"spec":{"a":"3","b":"2"}}`, http.StatusOK, []string{soon, unknown}},
		{http.MethodDelete, path + "/x", "", http.StatusOK, []string{soon}},
	} {
		request, err := http.NewRequestWithContext(t.Context(), step.method, s.URL+step.path, strings.NewReader(step.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Content-Type", "application/json")
		if step.method == http.MethodPatch {
			request.Header.Set("Content-Type", "application/merge-patch+json")
		}
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if got := slices.Sorted(slices.Values(answer.Header.Values("Warning"))); err != nil || answer.StatusCode != step.code || !slices.Equal(got, step.warnings) {
			t.Errorf("%s %s %s: %d with the warnings %q, want %d with %q (%v)\n%s", step.method, step.path, step.body, answer.StatusCode, got, step.code, step.warnings, err, data)
		}
	}
}
