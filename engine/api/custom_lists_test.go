package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// gadgets are custom resources in two versions that may contain anything.
const gadgets = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gadgets.example.com"},
"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"gadgets","singular":"gadget","kind":"Gadget"},"versions":[
{"name":"v1","served":true,"storage":true,"selectableFields":[{"jsonPath":".spec.color"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{
 "type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"color":{"type":"string","default":"red"}}}}}}},
{"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`

// Lists of custom resources are not encoded by the library, but are the same to the
// byte as those that it encodes, which are those whose contents are audited.
func TestCustomLists(t *testing.T) {
	t.Parallel()
	option, log := auditLog(t, "- {level: RequestResponse, users: [audited], resources: [{group: example.com}]}\n- {level: Metadata}\n")
	s := apitest.Start(t, option)
	admin := clientOf(t, s.Config, "HTTP/2.0")
	config, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, "audited", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	audited := clientOf(t, config, "HTTP/2.0")
	get := func(client *http.Client, path, accept, encoding string) (int, http.Header, []byte) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/apis/example.com/"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		request.Header.Set("Accept-Encoding", encoding)
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		data, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header, data
	}
	custom{s, t}.done(custom{s, t}.apply("git", gadgets))
	custom{s, t}.condition("gadgets.example.com", "Established")
	var changes []change.Change
	for i := range 150 {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": map[string]any{"namespace": "default", "name": fmt.Sprintf("g%03d", i), "labels": map[string]any{"part": fmt.Sprint(i % 3)}},
			"spec": map[string]any{"html": "<a href=\"x\">\u2028&\\\n\x00ä", "floats": []any{0.5, 1e30, int64(-7)}, "none": nil, "empty": map[string]any{"list": []any{}, "map": map[string]any{}}, "yes": true, "long": strings.Repeat("long ", 200)},
		}}
		if i == 7 {
			u.Object["spec"].(map[string]any)["color"] = "green"
		}
		changes = append(changes, change.Create(u, time.Now()))
	}
	if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}

	const plain = "application/json"
	// What goes on meanwhile is not in the list, but has revisions.
	revision := regexp.MustCompile(`"resourceVersion":"\d+"}}\n$`)
	_, _, page := get(admin, "v1/gadgets?limit=7", plain, "")
	var head metav1.List
	if err := json.Unmarshal(page, &head); err != nil || len(head.Items) != 7 || head.Continue == "" || head.RemainingItemCount == nil {
		t.Fatalf("the first page has %d items, %v (%v)", len(head.Items), head.ListMeta, err)
	}
	for _, c := range []struct {
		path  string
		code  int
		items int
	}{
		{"v1/gadgets", http.StatusOK, 150},
		{"v1/namespaces/default/gadgets", http.StatusOK, 150},
		{"v1/namespaces/none/gadgets", http.StatusOK, 0},
		{"v2/gadgets", http.StatusOK, 150},
		{"v1/gadgets?labelSelector=part%3D1", http.StatusOK, 50},
		{"v1/gadgets?fieldSelector=spec.color%3Dgreen", http.StatusOK, 1},
		{"v1/gadgets?fieldSelector=metadata.name%3Dg003", http.StatusOK, 1},
		{"v1/gadgets?limit=7&continue=" + head.Continue, http.StatusOK, 7},
		{"v1/gadgets?resourceVersion=" + head.ResourceVersion + "&resourceVersionMatch=Exact", http.StatusOK, 150},
		{"v1/gadgets?resourceVersion=1&resourceVersionMatch=Exact", http.StatusOK, 0},
		{"v1/gadgets?fieldSelector=spec.size%3D1", http.StatusBadRequest, 0},
		{"v1/gadgets?continue=x", http.StatusBadRequest, 0},
		{"v3/gadgets", http.StatusNotFound, 0},
	} {
		code, ours, got := get(admin, c.path, plain, "")
		theirCode, theirs, want := get(audited, c.path, plain, "")
		var list metav1.List
		if err := json.Unmarshal(got, &list); err != nil && c.code == http.StatusOK {
			t.Errorf("%s: %v", c.path, err)
		}
		if code != c.code || theirCode != c.code || len(list.Items) != c.items {
			t.Errorf("%s: %d and %d with %d items, want %d with %d", c.path, code, theirCode, len(list.Items), c.code, c.items)
		}
		if got, want := revision.ReplaceAll(got, nil), revision.ReplaceAll(want, nil); !bytes.Equal(got, want) {
			t.Errorf("%s:\n%.2000s\nwant\n%.2000s", c.path, got, want)
		}
		for _, name := range []string{"Content-Type", "Cache-Control", "Vary", "Warning"} {
			if got, want := ours.Values(name), theirs.Values(name); !slices.Equal(got, want) {
				t.Errorf("%s: %s: %q, want %q", c.path, name, got, want)
			}
		}
	}

	// All other forms are the library's.
	_, _, want := get(admin, "v1/gadgets", plain, "")
	for accept, has := range map[string]string{
		"application/yaml": "- apiVersion: example.com/v1\n",
		"application/json;as=Table;v=v1;g=meta.k8s.io":                                        `"rows":[{"cells":["g000"`,
		"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io":                    `"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"g000"`,
		"application/vnd.kubernetes.protobuf,application/json":                                string(revision.ReplaceAll(want, nil)),
		"application/json;as=Table;v=v1;g=example.com, application/json;pretty=1, */*":        "\n  \"items\": [\n",
		"application/cbor, application/json;as=Other;v=v1;g=meta.k8s.io, */*":                 string(revision.ReplaceAll(want, nil)),
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io": "g000",
	} {
		if code, _, got := get(admin, "v1/gadgets", accept, ""); code != http.StatusOK || !strings.Contains(string(got), has) {
			t.Errorf("%s: %d %.300s", accept, code, got)
		}
	}
	for path, compressed := range map[string]bool{"v1/gadgets": true, "v1/gadgets?limit=5": false} {
		_, header, data := get(admin, path, plain, "gzip")
		if got := header.Get("Content-Encoding") == "gzip"; got != compressed {
			t.Errorf("%s is compressed: %v", path, got)
			continue
		}
		if !compressed {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		if data, err = io.ReadAll(z); err != nil || !bytes.Equal(revision.ReplaceAll(data, nil), revision.ReplaceAll(want, nil)) {
			t.Errorf("%s: %d bytes, want %d (%v)", path, len(data), len(want), err)
		}
	}
	s.Stop()
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), `"responseObject":{"apiVersion":"example.com/v1","items":[{`) {
		t.Errorf("the audit log has no items (%v)", err)
	}
}

// The metrics tell how long lists of custom resources are, and how many there were.
func TestCustomListsAreMeasured(t *testing.T) {
	s := apitest.Start(t)
	c := custom{s, t}
	c.run(defined("measures", schemaOf(`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`)), "create", "-f", "-")
	c.condition("measures.hostile.example", "Established")
	var changes []change.Change
	for i := range 200 {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "hostile.example/v1", "kind": "Measures", "metadata": map[string]any{"namespace": "default", "name": fmt.Sprint("m", i)},
			"spec": map[string]any{"text": strings.Repeat(fmt.Sprint(i), 500)},
		}}
		changes = append(changes, change.Create(u, time.Now()))
	}
	if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}
	const labels = `{component="apiserver",group="hostile.example",resource="measures",scope="cluster",subresource="",verb="LIST",version="v1"}`
	// The metrics are the process's.
	told := func(name string) (value int) {
		t.Helper()
		_, metrics := raw(t, s, "/metrics")
		line := regexp.MustCompile(regexp.QuoteMeta(name+labels) + ` (\S+)`).FindStringSubmatch(metrics)
		if len(line) != 2 {
			return 0
		}
		number, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		return int(number)
	}
	client := clientOf(t, s.Config, "HTTP/2.0")
	const sizes, sum = "apiserver_response_sizes_count", "apiserver_response_sizes_sum"
	before, size := told(sizes), told(sum)
	length, requests := 0, 0
	for _, encoding := range []string{"", "gzip"} {
		for _, query := range []string{"", "?limit=1", "?labelSelector=none"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/apis/hostile.example/v1/measures"+query, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Accept", "application/json")
			request.Header.Set("Accept-Encoding", encoding)
			answer, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("%s: %d, %v", query, answer.StatusCode, err)
			}
			length += len(data)
			requests++
		}
	}
	if got := told(sizes) - before; got != requests {
		t.Errorf("there were %d lists, want %d", got, requests)
	}
	if got := told(sum) - size; got != length || length < 100_000 {
		t.Errorf("the lists were %d bytes long, want %d", got, length)
	}
}
