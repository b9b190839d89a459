package api_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api/apitest"
)

// TestSlowRequests: a user without rights who holds hundreds of requests open
// holds up neither nodes nor administrators nor other users.
func TestSlowRequests(t *testing.T) {
	s := apitest.Start(t)
	config := func(name string, groups ...string) *rest.Config {
		c, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, name, groups...))
		if err != nil {
			t.Fatal(err)
		}
		c.QPS = -1
		return c
	}
	client, err := rest.HTTPClientFor(config("mallory"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	const slow = 300
	refused := make(chan struct{}, slow)
	for range slow {
		wg.Go(func() {
			body, w := io.Pipe()
			defer func() { _ = w.Close() }()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			go func() { _, _ = io.WriteString(w, `{"apiVersion":`) }()
			response, err := client.Do(r)
			if err == nil {
				if response.StatusCode == http.StatusTooManyRequests {
					refused <- struct{}{}
				}
				response.Body.Close()
			}
		})
	}
	// The user's own limit is reached: more than that are under way.
	select {
	case <-refused:
	case <-time.After(time.Minute):
		t.Fatal("nobody was told that there are too many requests")
	}
	node := kubernetes.NewForConfigOrDie(config("system:node:n1", "system:nodes"))
	deadline, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	if _, err := node.CoreV1().Nodes().Create(deadline, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a node registers: %v", err)
	}
	if _, err := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default").Create(deadline, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("an administrator writes: %v", err)
	}
	out, errOut, err := s.KubectlAs(t, s.KubeconfigFor(t, "ada"), "", "auth", "can-i", "get", "pods")
	if !strings.HasPrefix(out, "no") {
		t.Errorf("another user asks: %q, %q, %v", out, errOut, err)
	}
}
