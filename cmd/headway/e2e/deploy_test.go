package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/e2e"
)

const (
	baseFile    = "apps/hello/base/kustomization.yaml"
	overlayFile = "apps/hello/overlays/production/kustomization.yaml"
	deployFile  = "apps/hello/base/deployment.yaml"
)

// A push rolls the Deployment: the new commit's pods become Ready, the old
// ones go, and a client that sends requests all the time loses none.
func TestPushRollsOutWithoutLosingARequest(t *testing.T) {
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	before := readyPods(t, c, 3)

	url := "http://" + serviceIP(t, c)
	load := startLoad(c, url)
	c.Clone.Replace(baseFile, "Hello from Git!", "Hello again!")
	c.Clone.Replace(deployFile, "web:1.0.0", "web:1.1.0")
	commit := c.Clone.Push("Greet again")
	c.Deployed(commit)
	after := readyPods(t, c, 3)
	for name := range after {
		if before[name] {
			t.Errorf("pod %s is from before the commit", name)
		}
	}
	c.Eventually(30*time.Second, "the Service answers with the new version", func() error {
		return answers(c, url, "Hello again! (web 1.1.0 on hello-")
	})
	c.Eventually(30*time.Second, "the old pods are gone", func() error {
		return podsAre(c, after)
	})
	requests, failures := load.stop()
	if requests < 50 {
		t.Errorf("only %d requests were sent during the rolling update", requests)
	}
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(failures), requests, failures[0])
	}
	t.Logf("%d requests, none lost", requests)
}

// load sends requests until it is stopped.
type load struct {
	cancel   context.CancelFunc
	wait     sync.WaitGroup
	mu       sync.Mutex
	requests int
	failures []error
}

// startLoad asks from the node of a cluster.
func startLoad(c *e2e.Cluster, url string) *load { return loadFrom(greeted(c.HTTP, url)) }

// greeted asks for a greeting.
func greeted(client *http.Client, url string) func() error {
	return func() error { return answered(client, url, "Hello") }
}

// loadFrom sends requests by ask, from several goroutines.
func loadFrom(ask func() error) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for range 4 {
		l.wait.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				err := ask()
				l.mu.Lock()
				l.requests++
				if err != nil {
					l.failures = append(l.failures, fmt.Errorf("at %s: %w", time.Now().Format(time.StampMilli), err))
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.requests
}

func (l *load) stop() (int, []error) {
	l.cancel()
	l.wait.Wait()
	return l.requests, l.failures
}

// answers reports whether a request is answered with a text that starts so.
func answers(c *e2e.Cluster, url, prefix string) error { return answered(c.HTTP, url, prefix) }

func answered(client *http.Client, url, prefix string) error {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), prefix) {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	return nil
}

func serviceIP(t *testing.T, c *e2e.Cluster) string {
	t.Helper()
	service, err := c.Client().CoreV1().Services("hello").Get(t.Context(), "hello", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return service.Spec.ClusterIP
}

// readyPods waits until exactly n pods of the example are Ready and returns
// their names.
func readyPods(t *testing.T, c *e2e.Cluster, n int) map[string]bool {
	t.Helper()
	var names map[string]bool
	c.Eventually(time.Minute, fmt.Sprintf("%d pods are Ready", n), func() error {
		pods, err := c.Client().CoreV1().Pods("hello").List(t.Context(), metav1.ListOptions{LabelSelector: "app=hello"})
		if err != nil {
			return err
		}
		names = map[string]bool{}
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil && podutils.IsPodReady(&pod) {
				names[pod.Name] = true
			}
		}
		if len(names) != n {
			return fmt.Errorf("%d of %d pods are Ready", len(names), len(pods.Items))
		}
		return nil
	})
	return names
}

// podsAre reports whether the example's pods are exactly those of names.
func podsAre(c *e2e.Cluster, names map[string]bool) error {
	pods, err := c.Client().CoreV1().Pods("hello").List(context.Background(), metav1.ListOptions{LabelSelector: "app=hello"})
	if err != nil {
		return err
	}
	if len(pods.Items) != len(names) {
		return fmt.Errorf("%d pods, want %d", len(pods.Items), len(names))
	}
	for _, pod := range pods.Items {
		if !names[pod.Name] {
			return fmt.Errorf("pod %s is still there", pod.Name)
		}
	}
	return nil
}
