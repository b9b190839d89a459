package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
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
	"headway.dev/manifests/model/change"
)

// TestWatchFlood: a user who opens thousands of watches at once is told to come again for
// some, and gets a thousand; one who reads nothing of watches that
// begin with a large list keeps little memory; and others are told of changes and write
// meanwhile.
func TestWatchFlood(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", []string{"create", "clusterrolebinding", "all-view", "--clusterrole=view", "--user=mallory", "--user=ada"}, "created")
	config := func(name string) *rest.Config {
		c, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, name))
		if err != nil {
			t.Fatal(err)
		}
		c.QPS = -1
		return c
	}
	const objects, size = 200, 16 << 10
	for i := range objects {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("large-%d", i)}, Data: map[string]string{"a": strings.Repeat("x", size)}}
		if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(cm, time.Now())}}); err != nil {
			t.Fatal(err)
		}
	}
	mallory := config("mallory")
	client, err := rest.HTTPClientFor(mallory)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	watch := func(client *http.Client, query string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/api/v1/namespaces/default/configmaps?watch=1&"+query, http.NoBody)
		if err != nil {
			return nil, err
		}
		return client.Do(r)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)

	// More than one may have, and than may wait for a place.
	const flood = 1_300
	refused, open := make(chan struct{}), make(chan struct{}, flood)
	var once sync.Once
	for i := range flood {
		wg.Go(func() {
			query := []string{"resourceVersion=0", "resourceVersion=", "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"}[i%3]
			for {
				response, err := watch(client, query+"&fieldSelector=metadata.name=none")
				if err != nil {
					return // the test has ended
				}
				again, err := strconv.Atoi(response.Header.Get("Retry-After"))
				switch {
				case response.StatusCode == http.StatusOK:
					open <- struct{}{}
				case response.StatusCode != http.StatusTooManyRequests || err != nil:
					t.Errorf("a watch is answered with %s, and to come again %v", response.Status, err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != http.StatusTooManyRequests {
					return
				}
				once.Do(func() { close(refused) })
				select {
				case <-time.After(time.Duration(again) * time.Second):
				case <-ctx.Done():
					return
				}
			}
		})
	}
	within(t, "a watch is refused", refused)
	for range 1_000 {
		within(t, "a watch is open", open)
	}

	// They read nothing of what they asked for.
	slow := slowly(t, mallory)
	defer slow.CloseIdleConnections()
	other := kubernetes.NewForConfigOrDie(config("ada"))
	seen, err := other.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=first"})
	if err != nil {
		t.Fatalf("another user watches: %v", err)
	}
	defer seen.Stop()
	admin := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default")
	told := func(label string) {
		t.Helper()
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: label}}
		if _, err := admin.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			t.Fatalf("an administrator writes: %v", err)
		}
		select {
		case event := <-seen.ResultChan():
			if got, ok := event.Object.(*corev1.ConfigMap); !ok || got.Name != label {
				t.Errorf("another user is told of %+v, want %s", event, label)
			}
		case <-time.After(time.Minute):
			t.Fatal("another user is not told of a change")
		}
	}
	told("first")
	cancel()
	wg.Wait()
	client.CloseIdleConnections()

	// The same user again, slowly.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	if seen, err = other.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=second"}); err != nil {
		t.Fatal(err)
	}
	defer seen.Stop()
	for range 50 {
		response, err := watch(slow, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("a watch: %v, %v", response, err)
		}
		defer response.Body.Close()
	}
	told("second")
	reaches(t, "little memory is kept for them", func() error {
		runtime.GC()
		runtime.ReadMemStats(&after)
		// All at once they would be 50 times the list.
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 50*objects*size/2 {
			return fmt.Errorf("%d MiB more are in use than before", grown>>20)
		}
		return nil
	})
}

// within fails unless something comes within a minute.
func within(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(time.Minute):
		t.Fatalf("not within a minute: %s", what)
	}
}

// slowly is a client with a connection for each request, of which little is on the
// way that it does not read.
func slowly(t *testing.T, cfg *rest.Config) *http.Client {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.NextProtos = []string{"http/1.1"}
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok {
			err = tcp.SetReadBuffer(4 << 10)
		}
		return conn, err
	}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
