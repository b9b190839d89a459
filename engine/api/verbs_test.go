package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/api/apitest"
)

// answerTo sends one request and returns the status and the body of its answer.
func answerTo(t *testing.T, client *http.Client, method, url, accept, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", accept)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// A PUT to a name that does not exist creates objects of some kinds, as in Kubernetes.
func TestPutOfANewName(t *testing.T) {
	s := apitest.Start(t)
	client := clientOf(t, s.Config, "HTTP/2.0")
	const space = "namespaces/default/"
	for _, tc := range []struct {
		path, body string
		want       int
	}{
		{"/api/v1/" + space + "limitranges/new", `{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"new"}}`, http.StatusCreated},
		{"/api/v1/" + space + "resourcequotas/new", `{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"new"}}`, http.StatusNotFound},
		{"/apis/node.k8s.io/v1/runtimeclasses/new", `{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"new"},"handler":"runc"}`, http.StatusCreated},
		{"/apis/policy/v1/" + space + "poddisruptionbudgets/new", `{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"new"},"spec":{}}`, http.StatusNotFound},
		{"/apis/scheduling.k8s.io/v1/priorityclasses/new", `{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"new"},"value":1}`, http.StatusNotFound},
	} {
		if status, answer := answerTo(t, client, http.MethodPut, s.URL+tc.path, "application/json", tc.body); status != tc.want {
			t.Errorf("PUT %s is answered %d: %s; want %d", tc.path, status, answer, tc.want)
		}
	}
}

// The columns of tables have the types that Kubernetes gives them, which other clients
// than kubectl read.
func TestTypesOfColumns(t *testing.T) {
	s := apitest.Start(t)
	client := clientOf(t, s.Config, "HTTP/2.0")
	for _, tc := range []struct{ path, column, want string }{
		{"/api/v1/limitranges", "Created At", "date"},
		{"/apis/rbac.authorization.k8s.io/v1/clusterroles", "Created At", "date"},
		{"/apis/batch/v1/cronjobs", "Suspend", "boolean"},
		{"/apis/batch/v1/cronjobs", "Active", "integer"},
		{"/apis/scheduling.k8s.io/v1/priorityclasses", "Global-Default", "boolean"},
		{"/apis/scheduling.k8s.io/v1/priorityclasses", "Age", "string"},
		{"/apis/storage.k8s.io/v1/volumeattachments", "Attached", "boolean"},
	} {
		var table metav1.Table
		if _, answer := answerTo(t, client, http.MethodGet, s.URL+tc.path, "application/json;as=Table;v=v1;g=meta.k8s.io", ""); json.Unmarshal(answer, &table) != nil {
			t.Fatalf("%s: %s", tc.path, answer)
		}
		got := "no such column"
		for _, c := range table.ColumnDefinitions {
			if c.Name == tc.column {
				got = c.Type
			}
		}
		if got != tc.want {
			t.Errorf("%s: the column %s has the type %s, want %s", tc.path, tc.column, got, tc.want)
		}
	}
}
