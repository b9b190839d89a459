package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// heldGate tells of each write of a namespace and holds it until its client is
// gone; some then fail, and others are done all the same.
type heldGate struct{ begun, ended chan struct{} }

func (g heldGate) Review(ctx context.Context, w change.Request) (change.Elsewhere, error) {
	ns, ok := w.Next.(*corev1.Namespace)
	if !ok {
		return nil, nil
	}
	g.begun <- struct{}{}
	<-ctx.Done()
	defer func() { g.ended <- struct{}{} }()
	switch ns.Labels["then"] {
	case "cancelled":
		return nil, ctx.Err()
	case "refused":
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "namespaces"}, ns.Name, errors.New("refused"))
	}
	return nil, nil
}

// Clients that go away in the middle of anything are no error, and nothing to
// warn of.
func TestClientsThatGoAwayAreNoErrors(t *testing.T) {
	warnings.start()
	gate := heldGate{make(chan struct{}), make(chan struct{})}
	n1 := newNode(t)
	s := apitest.Start(t, n1.trusted, func(c *api.Config) {
		c.Gate = gate
		c.Log = warningsOnly
	})
	n1.join(t, s, map[string][]string{"one": {"main"}})
	for i := range 8 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("large-%d", i)}, Data: map[string]string{"data": strings.Repeat("x", 1<<20)}}
		if _, err := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	inProcess := s.API.InProcess("admin", "system:masters")
	inside, err := rest.HTTPClientFor(inProcess)
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]*http.Client{"HTTP/2.0": clientOf(t, s.Config, "HTTP/2.0"), "HTTP/1.1": clientOf(t, s.Config, "HTTP/1.1"), "in process": inside}
	for how, client := range clients {
		base := s.URL
		if how == "in process" {
			base = inProcess.Host
		}
		request := func(ctx context.Context, method, path, accept, body string) *http.Request {
			r, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", accept)
			r.Header.Set("Content-Type", "application/merge-patch+json")
			return r
		}
		for _, then := range []string{"cancelled", "refused", "done"} {
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				response, err := client.Do(request(ctx, http.MethodPatch, "/api/v1/namespaces/default", "application/json", `{"metadata":{"labels":{"then":"`+then+`"}}}`))
				if err == nil {
					response.Body.Close()
				}
				failed <- err
			}()
			<-gate.begun
			cancel()
			if err := <-failed; err == nil {
				t.Errorf("%s: a write that was given up was answered", how)
			}
			<-gate.ended
		}
		const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
		for path, accept := range map[string]string{
			"/api/v1/configmaps":                                  "application/json",
			"/api/v1/configmaps?limit=8":                          "application/vnd.kubernetes.protobuf",
			"/api/v1/configmaps?includeObject=Object":             table,
			"/api/v1/configmaps?watch=true":                       "application/json",
			"/api/v1/configmaps?watch=true&includeObject=Object":  table,
			"/api/v1/namespaces/default/pods/one/log?follow=true": "application/json",
			"/api/v1/configmaps?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true": "application/json",
		} {
			ctx, cancel := context.WithCancel(t.Context())
			response, err := client.Do(request(ctx, http.MethodGet, path, accept, ""))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(response.Body, make([]byte, 16)); err != nil || response.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %s, %v", how, path, response.Status, err)
			}
			cancel()
			response.Body.Close()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cat := exec.CommandContext(ctx, "kubectl", "--kubeconfig", s.Kubeconfig, "exec", "-i", "one", "--", "sh", "-c", "echo begun; cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("begun"))); err != nil {
		t.Error(err)
	}
	if err := cat.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cat.Wait() // killed
	s.Stop()       // it waits for all handlers
	if got := warnings.stop(); got != "" {
		t.Errorf("the log has warnings:\n%s", got)
	}
}
