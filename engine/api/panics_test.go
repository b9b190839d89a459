package api_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// TestPanics: neither a handler's panic nor the abort of a request whose
// client goes away ends the process, whether it came over the network or not.
func TestPanics(t *testing.T) {
	begun, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	s := apitest.Start(t, func(c *api.Config) {
		c.Routes = map[string]http.Handler{
			"/test/poison": http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("poisonous request") }),
			"/test/half": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half an ans")
				begun <- struct{}{}
				<-r.Context().Done()
				ended <- struct{}{}
			}),
		}
	})
	for name, config := range map[string]*rest.Config{"over TLS": s.Config, "in process": s.API.InProcess("admin", "system:masters")} {
		t.Run(name, func(t *testing.T) {
			client, err := rest.HTTPClientFor(config)
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			get := func(ctx context.Context, path string) (string, error) {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(r)
				if err != nil {
					return "", err
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				return string(body), err
			}
			before := panics(t, s)
			if body, err := get(t.Context(), "/test/poison"); err == nil {
				t.Errorf("a poisonous request was answered whole: %q", body)
			}
			if got := panics(t, s); got != before+1 {
				t.Errorf("headway_panics_total: got %v, want %v", got, before+1)
			}

			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := get(ctx, "/test/half")
				failed <- err
			}()
			<-begun
			cancel()
			if err := <-failed; err == nil {
				t.Error("half an answer was taken for a whole one")
			}
			<-ended
			if body, err := get(t.Context(), "/healthz"); err != nil || body != "ok" {
				t.Errorf("after it: got %q, %v", body, err)
			}
			if got := panics(t, s); got != before+1 {
				t.Errorf("headway_panics_total after an abort: got %v, want %v", got, before+1)
			}
		})
	}
}

// poisonousGate panics at writes of objects of that name.
type poisonousGate struct{}

func (poisonousGate) Review(_ context.Context, write change.Request) (change.Elsewhere, error) {
	if write.Next != nil && write.Next.GetName() == "poison" {
		panic("poisonous write")
	}
	return nil, nil
}

// TestPanicOfAGate: a panic between a request and the store, as of an
// admission, answers that request and no other.
func TestPanicOfAGate(t *testing.T) {
	s := apitest.Start(t, func(c *api.Config) { c.Gate = poisonousGate{} })
	for _, name := range []string{"poison", "good"} {
		expect(t, s, "", args("create configmap "+name), "configmap/"+name+" created")
	}
	before := panics(t, s)
	if out, errOut, err := s.Kubectl(t, "", args("label configmap poison a=b")...); err == nil {
		t.Errorf("a poisonous write was stored: %s%s", out, errOut)
	}
	if got := panics(t, s); got < before+1 {
		t.Errorf("headway_panics_total: got %v, want more than %v", got, before)
	}
	expect(t, s, "", args("label configmap good a=b"), "configmap/good labeled")
	expect(t, s, "", args("get configmaps -l a=b -o name"), "configmap/good")
}

// panics reads how many panics the server counted.
func panics(t *testing.T, s *apitest.Server) float64 {
	t.Helper()
	const name = "headway_panics_total"
	out, errOut, err := s.Kubectl(t, "", "get", "--raw", "/metrics")
	if err != nil {
		t.Fatalf("metrics: %v: %s", err, errOut)
	}
	for line := range strings.Lines(out) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestOwnRoutesHaveNoDeadline: a sync may take longer than other requests.
func TestOwnRoutesHaveNoDeadline(t *testing.T) {
	s := apitest.Start(t, func(c *api.Config) {
		c.Routes = map[string]http.Handler{"/test/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if at, limited := r.Context().Deadline(); limited {
				http.Error(w, "cut at "+at.String(), http.StatusInternalServerError)
				return
			}
			_, _ = io.WriteString(w, "no deadline")
		})}
	})
	expect(t, s, "", args("get --raw /test/sync"), "no deadline")
}
