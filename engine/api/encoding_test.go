package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// Answers are compressed for who wants that, from 128 KiB on, alone and in lists of
// small objects. CBOR is spoken by kube-apiserver only with an alpha feature gate, so
// that clients are told that it is not here, as there.
func TestEncodings(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	cm := func(name string, size int) change.Change {
		return change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"text": strings.Repeat("x", size)}}, time.Now())
	}
	changes := []change.Change{cm("large", 200<<10), cm("small", 100<<10)}
	s.Namespace(t, "many")
	for i := range 200 {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "many", Name: fmt.Sprint("c", i)}, Data: map[string]string{"text": strings.Repeat("y", 1<<10)}}
		changes = append(changes, change.Create(c, time.Now()))
	}
	if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}
	client := clientOf(t, s.Config, "HTTP/2.0")
	type answer struct {
		code    int
		header  http.Header
		content []byte
	}
	do := func(method, path, body string, header map[string]string) answer {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			request.Header.Set(k, v)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{response.StatusCode, response.Header, content}
	}

	const maps = "/api/v1/namespaces/default/configmaps"
	for _, c := range []struct {
		path, accept, encoding string
		compressed             bool
	}{
		{maps + "/large", "application/json", "gzip", true},
		{maps + "/large", "application/json", "br, gzip", true},
		{maps + "/large", "application/json", "", false},
		{maps + "/large", "application/json", "br", false},
		{maps + "/small", "application/json", "gzip", false},
		{"/api/v1/namespaces/many/configmaps", "application/json", "gzip", true},
		{"/api/v1/namespaces/many/configmaps?limit=5", "application/json", "gzip", false},
		{"/api/v1/namespaces/many/configmaps", "application/vnd.kubernetes.protobuf", "gzip", true},
	} {
		a := do(http.MethodGet, c.path, "", map[string]string{"Accept": c.accept, "Accept-Encoding": c.encoding})
		data := a.content
		if got := a.header.Get("Content-Encoding") == "gzip"; a.code != http.StatusOK || got != c.compressed {
			t.Errorf("%s as %s with %q: %d, compressed: %v, want %v", c.path, c.accept, c.encoding, a.code, got, c.compressed)
			continue
		}
		if c.compressed {
			z, err := gzip.NewReader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			if data, err = io.ReadAll(z); err != nil {
				t.Error(err)
			}
			if vary := strings.Join(a.header.Values("Vary"), ", "); !strings.Contains(vary, "Accept-Encoding") {
				t.Errorf("%s: Vary: %s", c.path, vary)
			}
		}
		if c.accept == "application/json" && !json.Valid(data) {
			t.Errorf("%s as %s: %d bytes", c.path, c.accept, len(data))
		}
	}

	// Watches that begin with a list are compressed, but those of one object or one
	// node: little comes there, and to decompress it takes more memory than it has.
	for query, compressed := range map[string]bool{
		"": true, "&fieldSelector=metadata.namespace%3Ddefault": true, "&fieldSelector=metadata.name!%3Dsmall": true,
		"&fieldSelector=metadata.name%3Dsmall": false, "&fieldSelector=metadata.name%3Dsmall,metadata.namespace%3Ddefault": false,
	} {
		path := s.URL + maps + "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan" + query
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept-Encoding", "gzip")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Content-Encoding") == "gzip"; response.StatusCode != http.StatusOK || got != compressed {
			t.Errorf("watch with %q: %s, compressed: %v, want %v", query, response.Status, got, compressed)
		}
	}

	for _, c := range []struct {
		method, path string
		header       map[string]string
		status       int
		says         string
	}{
		{http.MethodGet, maps, map[string]string{"Accept": "application/cbor"}, http.StatusNotAcceptable, "Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{http.MethodGet, maps + "?watch=1", map[string]string{"Accept": "application/cbor-seq"}, http.StatusNotAcceptable, "Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{http.MethodPost, maps, map[string]string{"Content-Type": "application/cbor"}, http.StatusUnsupportedMediaType, "the body of the request was in an unknown format - accepted media types include: application/json"},
		{http.MethodPatch, maps + "/small?fieldManager=m", map[string]string{"Content-Type": "application/apply-patch+cbor"}, http.StatusUnsupportedMediaType, "415: Unsupported Media Type"},
	} {
		a := do(c.method, c.path, "\xd9\xd9\xf7\xa0", c.header)
		if a.code != c.status || !strings.Contains(string(a.content), c.says) {
			t.Errorf("%s %s %v: %d: %s", c.method, c.path, c.header, a.code, a.content)
		}
	}
	// Who takes JSON, too, gets that.
	if a := do(http.MethodGet, maps+"/small", "", map[string]string{"Accept": "application/cbor, application/json"}); a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%d: %s", a.code, a.header.Get("Content-Type"))
	}
}
