package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
)

// Large answers that are built whole are built one after the other: who reads
// its answer slowly lets others of its kind wait, up to their deadline, and
// nobody else: no small answer, no list that is sent item by item, no
// administrator.
func TestWholeAnswersWaitForTheirTurn(t *testing.T) {
	api.SetWholeBytes(t, 4<<20)
	s := apitest.Start(t)
	s.Namespace(t, "small")
	const objects = 5 // of a megabyte: more than there may be at one time, and more than a client takes unread
	admin := kubernetes.NewForConfigOrDie(s.Config).CoreV1()
	create := func(namespace, name, data string) {
		t.Helper()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"data": data}}
		if _, err := admin.ConfigMaps(namespace).Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range objects {
		create("default", fmt.Sprintf("large-%d", i), strings.Repeat("x", 1<<20))
	}
	create("small", "small", "x")
	expect(t, s, "", args("create clusterrolebinding readers --clusterrole=view --group=readers"), "created")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ask := func(kubeconfig, accept, path string) *http.Response {
		t.Helper()
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		response, err := clientOf(t, config, "HTTP/2.0").Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	const (
		list, plain, yaml = "/api/v1/namespaces/default/configmaps", "application/json", "application/yaml"
		table             = "application/json;as=Table;v=v1;g=meta.k8s.io"
		metadata          = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
	)
	ada, bob := s.KubeconfigFor(t, "ada", "readers"), s.KubeconfigFor(t, "bob", "readers")
	slow := ask(ada, table, list+"?includeObject=Object")
	defer slow.Body.Close()
	for _, test := range []struct {
		who, accept, path string
		code              int
	}{
		{bob, table, list + "?includeObject=Object&timeout=2s", http.StatusGatewayTimeout},
		{bob, yaml, list + "?timeout=2s", http.StatusGatewayTimeout},
		{bob, plain, list + "?pretty=true&timeout=2s", http.StatusGatewayTimeout},
		{bob, table, list, http.StatusOK},
		{bob, metadata, list, http.StatusOK},
		{bob, plain, list, http.StatusOK},
		{bob, table, "/api/v1/namespaces/small/configmaps?includeObject=Object", http.StatusOK},
		{s.Kubeconfig, table, list + "?includeObject=Object", http.StatusOK},
	} {
		response := ask(test.who, test.accept, test.path)
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != test.code {
			t.Errorf("%s of %s: got %s, %v: %.200s", test.accept, test.path, response.Status, err, text)
		}
		if test.code == http.StatusGatewayTimeout && !strings.Contains(string(text), `"reason":"Timeout"`) && !strings.Contains(string(text), "reason: Timeout") && !strings.Contains(string(text), `"reason": "Timeout"`) {
			t.Errorf("%s: got %.200s", test.path, text)
		}
	}
	if n, err := io.Copy(io.Discard, slow.Body); err != nil || n < objects<<20 {
		t.Errorf("the slow reader got %d bytes, %v", n, err)
	}
	response := ask(bob, table, list+"?includeObject=Object")
	defer response.Body.Close()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK || n < objects<<20 {
		t.Errorf("after it: got %s, %d bytes, %v", response.Status, n, err)
	}
}
