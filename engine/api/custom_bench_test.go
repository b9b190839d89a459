package api_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
)

// settings defines custom resources that are like ConfigMaps.
const settings = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"settings.bench.example.com"},
"spec":{"group":"bench.example.com","scope":"Namespaced","names":{"plural":"settings","singular":"setting","kind":"Setting"},
"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{
"data":{"type":"object","additionalProperties":{"type":"string"}}}}}}]}}`

// BenchmarkCustom measures the processor time of requests of custom resources against
// those of ConfigMaps of the same content, without TLS and with a client that decodes
// nothing.
func BenchmarkCustom(b *testing.B) {
	s := apitest.Start(b)
	client, err := rest.HTTPClientFor(s.API.InProcess("bench", "system:masters"))
	if err != nil {
		b.Fatal(err)
	}
	send := func(ctx context.Context, method, path, media, body string) error {
		request, err := http.NewRequestWithContext(ctx, method, "https://in-process"+path, bytes.NewBufferString(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", media)
		request.Header.Set("Accept", "application/json")
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if answer.StatusCode >= http.StatusBadRequest {
			text, err := io.ReadAll(answer.Body)
			return fmt.Errorf("%s %s: %s: %s (%w)", method, path, answer.Status, text, err)
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return err
	}
	const plain, merge, apply = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
	if err := send(b.Context(), http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", plain, settings); err != nil {
		b.Fatal(err)
	}
	kinds := []struct{ name, head, path string }{
		{"built-in", `"apiVersion":"v1","kind":"ConfigMap"`, "/api/v1/namespaces/default/configmaps"},
		{"custom", `"apiVersion":"bench.example.com/v1","kind":"Setting"`, "/apis/bench.example.com/v1/namespaces/default/settings"},
	}
	served := func(ctx context.Context) (bool, error) {
		return send(ctx, http.MethodGet, kinds[1].path, plain, "") == nil, nil
	}
	if err := wait.PollUntilContextTimeout(b.Context(), 10*time.Millisecond, 30*time.Second, true, served); err != nil {
		b.Fatal(err)
	}
	for _, kind := range kinds {
		object := func(name, value string) string {
			return fmt.Sprintf(`{%s,"metadata":{"name":%q,"labels":{"app":"bench"}},"data":{"key":%q,"other":"value"}}`, kind.head, name, value)
		}
		create := func(ctx context.Context, name string) error {
			return send(ctx, http.MethodPost, kind.path, plain, object(name, "create"))
		}
		// The library lets the first object of a definition wait.
		if err := create(b.Context(), "first"); err != nil {
			b.Fatal(err)
		}
		created := 0
		for _, verb := range []struct {
			name string
			do   func(ctx context.Context, i int) error
		}{
			{"create", func(ctx context.Context, _ int) error {
				created++
				return create(ctx, fmt.Sprint("o", created))
			}},
			{"get", func(ctx context.Context, _ int) error {
				return send(ctx, http.MethodGet, kind.path+"/first", plain, "")
			}},
			{"patch", func(ctx context.Context, i int) error {
				return send(ctx, http.MethodPatch, kind.path+"/first", merge, fmt.Sprintf(`{"data":{"key":"%d"}}`, i))
			}},
			{"apply", func(ctx context.Context, i int) error {
				return send(ctx, http.MethodPatch, kind.path+"/first?fieldManager=bench&force=true", apply, object("first", fmt.Sprint(i)))
			}},
			{"list", func(ctx context.Context, _ int) error {
				return send(ctx, http.MethodGet, kind.path+"?limit=1000", plain, "")
			}},
		} {
			b.Run(verb.name+"/"+kind.name, func(b *testing.B) {
				if verb.name == "list" {
					for created < 1000 {
						created++
						if err := create(b.Context(), fmt.Sprint("o", created)); err != nil {
							b.Fatal(err)
						}
					}
				}
				before, i := processorTime(b), 0
				for b.Loop() {
					i++
					if err := verb.do(b.Context(), i); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(i), "cpu-us/request")
			})
		}
	}
}

// processorTime is what the process has used.
func processorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
