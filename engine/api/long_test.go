package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// stuckGate holds each write of a namespace until its request ends.
type stuckGate struct{}

func (stuckGate) Review(ctx context.Context, w change.Request) (change.Elsewhere, error) {
	if _, ok := w.Next.(*corev1.Namespace); ok {
		<-ctx.Done()
	}
	return nil, ctx.Err()
}

// Requests end after a time, but not those whose answers take as long as they
// take: our own routes (a sync, a rollback), watches, logs that are followed,
// and exec. What tells them apart names port-forward and attach as well.
func TestLongAnswersAreNotCut(t *testing.T) {
	release := make(chan struct{})
	n1 := newNode(t)
	s := apitest.Start(t, n1.trusted, func(c *api.Config) {
		c.RequestTimeout = 2 * time.Second
		c.Gate = stuckGate{}
		c.Routes = map[string]http.Handler{"/headway/v1/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "begin")
			_ = http.NewResponseController(w).Flush()
			<-release
			fmt.Fprintln(w, "end")
		})}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := kubernetes.NewForConfigOrDie(s.Config)
	n1.join(t, s, map[string][]string{"one": {"main"}})

	transport, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/headway/v1/sync", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	route := bufio.NewReader(res.Body)
	expectLine(t, "a route", route, "begin")
	watch, err := client.CoreV1().Namespaces().Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	log, err := client.CoreV1().Pods("default").GetLogs("one", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	expectLine(t, "logs -f", bufio.NewReader(log), "log of main tail=")
	logEnd := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, log); logEnd <- err }()
	cat := exec.CommandContext(ctx, "kubectl", "--kubeconfig", s.Kubeconfig, "exec", "-i", "one", "--", "cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	echo := bufio.NewReader(out)
	fmt.Fprintln(in, "before")
	expectLine(t, "exec", echo, "before")

	// An ordinary request is cut, so that the others have been open for longer
	// than the limit.
	for range 2 {
		began := time.Now()
		_, err := client.CoreV1().Namespaces().Patch(ctx, "default", types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
		if err == nil || time.Since(began) < time.Second {
			t.Errorf("an ordinary request: %v after %s, want it cut", err, time.Since(began))
		}
	}
	fmt.Fprintln(in, "after")
	expectLine(t, "exec", echo, "after")
	_ = in.Close()
	if err := cat.Wait(); err != nil {
		t.Errorf("exec: %v", err)
	}
	select {
	case err := <-logEnd:
		t.Errorf("logs -f ended: %v", err)
	default:
	}
	close(release)
	expectLine(t, "a route", route, "end")
	if _, err := route.ReadString('\n'); err != io.EOF {
		t.Errorf("a route ends with %v", err)
	}
	s.Namespace(t, "later")
	for name := ""; name != "later"; {
		select {
		case <-ctx.Done():
			t.Fatal("the watch does not tell of what came later")
		case event, open := <-watch.ResultChan():
			ns, ok := event.Object.(*corev1.Namespace)
			if !open || !ok {
				t.Fatalf("the watch ended: %+v", event)
			}
			name = ns.Name
		}
	}
}

func expectLine(t *testing.T, what string, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("%s: %q, %v; want %q", what, line, err, want)
	}
}
