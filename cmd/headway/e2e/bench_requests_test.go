package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"headway.dev/cmd/headway/e2e"
)

// BenchmarkAPI measures requests over TLS: those of ConfigMaps against those of
// custom resources of the same content, with 1 and 16 clients.
func BenchmarkAPI(b *testing.B) {
	c := e2e.Start(b)
	plain := newRaw(b, c)
	plain.must(b, http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition("settings", ""))
	kinds := map[string]string{"configmaps": "/api/v1/namespaces/default/configmaps", "custom": "/apis/bench.example.com/v1/namespaces/default/settings"}
	c.Eventually(time.Minute, "the custom resource is served", func() error {
		_, err := plain.send(http.MethodGet, kinds["custom"], "", nil)
		return err
	})
	head := map[string]string{
		"configmaps": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","labels":{"app":"bench"}},"data":{"key":"%s","other":"value"}}`,
		"custom":     `{"apiVersion":"bench.example.com/v1","kind":"Setting","metadata":{"name":"%s","labels":{"app":"bench"}},"data":{"key":"%s","other":"value"}}`,
	}
	for _, kind := range []string{"configmaps", "custom"} {
		path := kinds[kind]
		// Every verb of 1,000 objects, in an order in which each finds them.
		for _, verb := range []struct{ name, method, path, media, body string }{
			{name: "create", method: http.MethodPost, path: path, body: head[kind]},
			{name: "get", method: http.MethodGet, path: path + "/%s"},
			{name: "update", method: http.MethodPut, path: path + "/%s", body: strings.ReplaceAll(head[kind], "other", "second")},
			{name: "patch", method: http.MethodPatch, path: path + "/%s", media: "application/merge-patch+json", body: `{"data":{"key":"%[2]s"}}`},
			{name: "apply", method: http.MethodPatch, path: path + "/%s?fieldManager=bench&force=true", media: "application/apply-patch+yaml", body: head[kind]},
			{name: "list", method: http.MethodGet, path: path},
			{name: "delete", method: http.MethodDelete, path: path + "/%s"},
		} {
			for _, clients := range []int{1, 16} {
				if verb.name == "list" && clients > 1 || verb.name == "update" && kind == "custom" {
					continue // Custom resources have to be read before an update: patches are what can be compared.
				}
				b.Run(fmt.Sprintf("%s/%s/clients=%d", verb.name, kind, clients), func(b *testing.B) {
					n := 1000
					if verb.name == "list" {
						n = 20
					}
					for b.Loop() {
						requests(b, c, n, clients, func(worker, i int) error {
							name := fmt.Sprintf("bench-%d-%d-%d", clients, worker, i)
							to, body := verb.path, verb.body
							if strings.Contains(to, "%s") {
								to = fmt.Sprintf(to, name)
							}
							if body != "" {
								body = fmt.Sprintf(body, name, verb.name)
							}
							_, err := plain.send(verb.method, to, verb.media, []byte(body))
							return err
						})
					}
				})
			}
		}
	}
}

// BenchmarkLists measures lists of 10,000 pods, in the forms that clients ask for.
func BenchmarkLists(b *testing.B) {
	c := e2e.Start(b)
	plain := newRaw(b, c)
	const pods = 10_000
	requests(b, c, pods, 16, func(worker, i int) error {
		_, err := plain.send(http.MethodPost, "/api/v1/namespaces/default/pods", "", fmt.Appendf(nil, `{"apiVersion":"v1","kind":"Pod",
"metadata":{"name":"pod-%d-%d","labels":{"app":"bench","part":"%d"}},
"spec":{"schedulerName":"nobody","containers":[{"name":"web","image":"headway.dev/examples/web:1.0.0","env":[{"name":"PORT","value":"8080"}],"ports":[{"containerPort":8080}]}]}}`, worker, i, i%100))
		return err
	})
	for _, form := range []struct{ name, accept, query string }{
		{"json", "application/json", ""},
		{"protobuf", "application/vnd.kubernetes.protobuf", ""},
		{"table", "application/json;as=Table;v=v1;g=meta.k8s.io", ""},
		{"metadata", "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", ""},
		{"page of 500", "application/json", "?limit=500"},
		{"1 percent", "application/json", "?labelSelector=part%3D7"},
	} {
		b.Run(form.name, func(b *testing.B) {
			for b.Loop() {
				var size int
				requests(b, c, 5, 1, func(int, int) error {
					body, err := plain.send(http.MethodGet, "/api/v1/namespaces/default/pods"+form.query, form.accept, nil)
					size = len(body)
					return err
				})
				b.ReportMetric(float64(size)/(1<<20), "MiB")
			}
		})
	}
}

// BenchmarkFanOut measures the changes of an object that 1,000 clients watch, a
// half of them in JSON and a half in protobuf.
func BenchmarkFanOut(b *testing.B) {
	c := e2e.Start(b)
	plain := newRaw(b, c)
	const watchers, events = 1000, 100
	plain.must(b, http.MethodPost, "/api/v1/namespaces/default/configmaps", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"seen"},"data":{"n":"0"}}`)
	ctx, cancel := context.WithCancel(b.Context())
	var group errgroup.Group
	defer func() { cancel(); _ = group.Wait() }()
	var arrived atomic.Int64
	// A user has at most 1,000 watches.
	users := [2]*raw{newRaw(b, c, "one"), newRaw(b, c, "two")}
	var begun atomic.Int64
	for i := range watchers {
		accept, next := "application/json", skipLine
		if i%2 == 1 {
			accept, next = "application/vnd.kubernetes.protobuf;stream=watch", skipFrame
		}
		group.Go(func() error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, users[i%2].host+"/api/v1/namespaces/default/configmaps?watch=true&fieldSelector=metadata.name%3Dseen", http.NoBody)
			if err != nil {
				return err
			}
			request.Header.Set("Accept", accept)
			answer, err := users[i%2].Do(request)
			if err != nil {
				return err
			}
			defer func() { _ = answer.Body.Close() }()
			body := bufio.NewReader(answer.Body)
			for first := true; ; first = false {
				if err := next(body); err != nil {
					return err
				}
				if first {
					begun.Add(1)
					continue
				}
				arrived.Add(1)
			}
		})
	}
	c.Eventually(time.Minute, "all watch", func() error {
		if n := begun.Load(); n != watchers {
			return fmt.Errorf("%d watch", n)
		}
		return nil
	})
	for b.Loop() {
		arrived.Store(0)
		before, start := c.Processes.CPU(), time.Now()
		for i := range events {
			plain.must(b, http.MethodPatch, "/api/v1/namespaces/default/configmaps/seen", fmt.Sprintf(`{"data":{"n":"%d %d"}}`, start.UnixNano(), i))
		}
		c.Eventually(time.Minute, "all events are seen by all", func() error {
			if n := arrived.Load(); n < watchers*events {
				return fmt.Errorf("%d were seen", n)
			}
			return nil
		})
		b.ReportMetric(float64(time.Since(start).Milliseconds())/events, "ms/event")
		b.ReportMetric((c.Processes.CPU()-before).Seconds()*1e6/(watchers*events), "server-cpu-us/delivery")
	}
}

// BenchmarkDefinitions measures 500 CustomResourceDefinitions: until the last of
// them is served, and what each holds of memory at rest.
func BenchmarkDefinitions(b *testing.B) {
	for b.Loop() {
		c := e2e.Start(b)
		plain := newRaw(b, c)
		pause(b, time.Minute) // until it is idle as it is later
		const definitions = 500
		before, cpu, start := c.Processes.Usage()["headway"].PSS, c.Processes.CPU(), time.Now()
		for i := range definitions {
			plain.must(b, http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition(fmt.Sprintf("kind%dsettings", i), largeSchema()))
		}
		b.ReportMetric(time.Since(start).Seconds(), "s-until-created")
		c.Eventually(3*time.Minute, "all are served", func() error {
			for i := range definitions {
				if _, err := plain.send(http.MethodGet, fmt.Sprintf("/apis/bench.example.com/v1/kind%dsettings", definitions-1-i), "", nil); err != nil {
					return err
				}
			}
			return nil
		})
		b.ReportMetric(time.Since(start).Seconds(), "s-until-served")
		b.ReportMetric((c.Processes.CPU() - cpu).Seconds(), "cpu-s")
		pause(b, 3*time.Minute) // collections of what is idle are rare
		b.ReportMetric(float64(c.Processes.Usage()["headway"].PSS-before)/(1<<20)/definitions, "MiB/definition")
	}
}

// definition is a CustomResourceDefinition of a resource, whose kind is its
// singular; schema is more of its properties.
func definition(resource, schema string) string {
	singular := strings.TrimSuffix(resource, "s")
	kind := strings.ToUpper(singular[:1]) + singular[1:]
	return fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"%[1]s.bench.example.com"},
"spec":{"group":"bench.example.com","scope":"Namespaced","names":{"plural":"%[1]s","singular":"%[2]s","kind":"%[3]s"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{
"data":{"type":"object","additionalProperties":{"type":"string"}}%[4]s}}}}]}}`, resource, singular, kind, schema)
}

// largeSchema has a hundred described properties, as operators have them.
func largeSchema() string {
	var s strings.Builder
	s.WriteString(`,"spec":{"type":"object","properties":{`)
	for i := range 100 {
		if i > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, `"field%d":{"type":"object","description":"Says of part %d of the program how it is set up, and what it does with the rest.","properties":{"enabled":{"type":"boolean","default":true},"name":{"type":"string","maxLength":63},"size":{"type":"integer","minimum":0}}}`, i, i)
	}
	s.WriteString(`}}`)
	return s.String()
}

// requests sends n requests from as many clients, and reports what they took.
func requests(b *testing.B, c *e2e.Cluster, n, clients int, send func(worker, i int) error) {
	b.Helper()
	before, start := c.Processes.CPU(), time.Now()
	var group errgroup.Group
	for worker := range clients {
		group.Go(func() error {
			for i := range n / clients {
				if err := send(worker, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	n = n / clients * clients
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "requests/s")
	b.ReportMetric((c.Processes.CPU()-before).Seconds()*1000/float64(n), "server-cpu-ms/request")
}
