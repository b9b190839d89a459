package api_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
)

const (
	jsonBody  = "application/json"
	yamlBody  = "application/yaml"
	protoBody = "application/vnd.kubernetes.protobuf"
	jsonPatch = "application/json-patch+json"
)

// hostileRequest is one that no honest client makes.
type hostileRequest struct {
	method, path, contentType string
	header                    map[string]string
	body                      string
	// status is the answer's, and says a part of its message.
	status int
	says   string
}

// TestHostileRequests: what is too large, too deep or nonsense is refused with a
// status and a reason that tell so, costs little memory, and disturbs nobody.
func TestHostileRequests(t *testing.T) {
	s := apitest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Config)
	victim := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "victim"}, Data: map[string]string{"a": strings.Repeat("x", 1<<10)}}
	if _, err := admin.CoreV1().ConfigMaps("default").Create(t.Context(), victim, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)

	requests := hostileRequests()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for name, request := range requests {
		wg.Go(func() {
			status, body := request.send(t, client, s.URL)
			if status != request.status || !strings.Contains(body, request.says) {
				t.Errorf("%s: answered %d: %.600s; want %d and %q", name, status, body, request.status, request.says)
			}
		})
	}
	wg.Wait()
	// Nothing of it stays.
	client.CloseIdleConnections()
	reaches(t, "the memory is given back", func() error {
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
			return fmt.Errorf("%d MiB more are in use than before", grown>>20)
		}
		return nil
	})
	got, err := admin.CoreV1().ConfigMaps("default").Get(t.Context(), "victim", metav1.GetOptions{})
	if err != nil || len(got.Data) != 1 || len(got.Data["a"]) != 1<<10 {
		t.Errorf("what was there before: %d entries, %v", len(got.Data), err)
	}
}

func (h hostileRequest) send(t *testing.T, client *http.Client, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), h.method, url+h.path, strings.NewReader(h.body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	if h.contentType != "" {
		r.Header.Set("Content-Type", h.contentType)
	}
	for name, value := range h.header {
		r.Header.Set(name, value)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Errorf("%s: %v", h.path, err)
		return 0, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(text)
}

func hostileRequests() map[string]hostileRequest {
	const maps = "/api/v1/namespaces/default/configmaps"
	post := func(contentType, body string, status int, says string) hostileRequest {
		return hostileRequest{http.MethodPost, maps, contentType, nil, body, status, says}
	}
	get := func(query, says string) hostileRequest {
		return hostileRequest{http.MethodGet, maps + "?" + query, "", nil, "", http.StatusBadRequest, says}
	}
	patch := func(contentType, body string, status int, says string) hostileRequest {
		return hostileRequest{http.MethodPatch, maps + "/victim", contentType, nil, body, status, says}
	}
	nest := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	object := func(rest string) string { return `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"h"` + rest }
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(make([]byte, 64<<20)) // into memory
	_ = w.Close()
	doubling := `[{"op":"add","path":"/data/b","value":"` + strings.Repeat("y", 1<<10) + `"}`
	for i := range 4000 {
		doubling += fmt.Sprintf(`,{"op":"copy","from":"/data","path":"/data/c%d"}`, i)
	}
	return map[string]hostileRequest{
		"large":             post(jsonBody, object(`},"data":{"a":"`+strings.Repeat("x", 3<<20)+`"}}`), http.StatusRequestEntityTooLarge, "limit is 3145728"),
		"large yaml":        post(yamlBody, "a: "+strings.Repeat("x", 3<<20), http.StatusRequestEntityTooLarge, "limit is 3145728"),
		"deep json":         post(jsonBody, object(`},"x":`+nest("[", "]", 100_000)+`}`), http.StatusBadRequest, "exceeded max depth"),
		"deep objects":      post(jsonBody, object(`},"x":`+strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)+`}`), http.StatusBadRequest, "exceeded max depth"),
		"deep yaml":         post(yamlBody, "x: "+nest("[", "]", 100_000), http.StatusBadRequest, ""),
		"alias bomb":        post(yamlBody, bomb, http.StatusBadRequest, "excessive aliasing"),
		"compressed":        {http.MethodPost, maps, jsonBody, map[string]string{"Content-Encoding": "gzip"}, zipped.String(), http.StatusBadRequest, ""},
		"not json":          post(jsonBody, "\x00\xff\xfe", http.StatusBadRequest, ""),
		"not protobuf":      post(protoBody, "k8s\x00"+strings.Repeat("\xff", 1<<10), http.StatusBadRequest, ""),
		"endless varint":    post(protoBody, "k8s\x00\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", http.StatusBadRequest, ""),
		"another kind":      post(jsonBody, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"h"}}`, http.StatusBadRequest, "cannot be handled as a ConfigMap"),
		"no such encoding":  post("application/x-tar", "x", http.StatusUnsupportedMediaType, "body"),
		"invalid utf-8":     post(jsonBody, object("\xff\"}}"), http.StatusBadRequest, ""),
		"many annotations":  post(jsonBody, object(`,"annotations":{`+many(20_000, `"a%d":"0123456789",`)+`}}}`), http.StatusUnprocessableEntity, "metadata.annotations: Too long"),
		"wrong labels":      post(jsonBody, object(`,"labels":{`+many(20_000, `"-%d":"x",`)+`}}}`), http.StatusUnprocessableEntity, "(19499 further errors are not listed)"),
		"large after all":   post(jsonBody, object(`},"data":{`+many(1<<12, `"k%d":"`+strings.Repeat("x", 1<<9)+`",`)+`}}`), http.StatusUnprocessableEntity, "Too long"),
		"many operations":   patch(jsonPatch, "["+many(10_001, `{"op":"test","path":"/data/a%d","value":1},`)+"]", http.StatusRequestEntityTooLarge, "The allowed maximum operations in a JSON patch is 10000, got 10001"),
		"applied nonsense":  {http.MethodPatch, maps + "/victim?fieldManager=m", "application/apply-patch+yaml", nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"victim"},"date":{}}`, http.StatusBadRequest, ".date: field not declared in schema"},
		"copies of copies":  patch(jsonPatch, doubling+"]", http.StatusUnprocessableEntity, "rejected our request"),
		"patch of a patch":  patch("application/merge-patch+json", `{"data":`+strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)+`}`, http.StatusBadRequest, ""),
		"continue":          get("limit=1&continue=%00x", "continue key is not valid"),
		"resource version":  get("resourceVersion=-1", "resourceVersion"),
		"label selector":    get("labelSelector=a+in+(", "unable to parse requirement"),
		"field selector":    get("fieldSelector=data.a%3Dx", "field label not supported"),
		"negative timeout":  get("watch=1&timeoutSeconds=x", ""),
		"path":              {http.MethodGet, "/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets", "", nil, "", http.StatusNotFound, ""},
		"name":              {http.MethodGet, maps + "/" + strings.Repeat("n", 100_000), "", nil, "", http.StatusNotFound, "not found"},
		"delete by a bomb":  {http.MethodDelete, maps + "/victim", jsonBody, nil, `{"kind":"DeleteOptions","apiVersion":"v1","x":` + nest("[", "]", 100_000) + `}`, http.StatusBadRequest, ""},
		"delete for a year": {http.MethodDelete, maps + "/victim?propagationPolicy=Explode", "", nil, "", http.StatusUnprocessableEntity, "propagationPolicy"},
		"impersonation":     {http.MethodGet, maps, "", map[string]string{"Impersonate-Group": "system:masters"}, "", http.StatusBadRequest, "without impersonating a user"},
	}
}
