package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// attach talks to the container's own program, port-forward and the proxy
// subresources reach a pod and a Service, cp copies both ways, and a followed log
// ends with its pod.
func TestKubectlStreams(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.KubectlIn(`apiVersion: v1
kind: Service
metadata: {name: box}
spec: {selector: {app: box}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: echo
    image: headway.dev/test/busybox:1
    command: [sh, -c, "while read line; do echo \"heard $line\"; done"]
    stdin: true
  - name: web
    image: headway.dev/test/busybox:1
    command: [sh, -c, "mkdir /www; echo here > /www/index.html; exec httpd -f -p 8080 -h /www"]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: brief}
spec:
  restartPolicy: Never
  containers:
  - {name: a, image: "headway.dev/test/busybox:1", command: [sh, -c, "for i in 1 2 3 4; do echo tick $i; sleep 0.5; done; echo the end"]}
`, "apply", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/box", "pod/brief", "--timeout=60s")
	if got, want := c.Kubectl("logs", "-f", "brief"), "tick 1\ntick 2\ntick 3\ntick 4\nthe end\n"; got != want {
		t.Errorf("logs -f until the end: %q, want %q", got, want)
	}
	c.Kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/brief", "--timeout=30s")

	attached := c.Background("(echo to you; sleep 30) | kubectl attach -i box -c echo")
	c.Eventually(20*time.Second, "attach shows the answer", func() error { return attached.Has("heard to you") })
	attached.Stop()
	c.Eventually(20*time.Second, "the log has the answer, too", func() error {
		if log := c.Kubectl("logs", "box", "-c", "echo"); log != "heard to you\n" {
			return fmt.Errorf("it is %q", log)
		}
		return nil
	})

	for target, port := range map[string]string{"pod/box": "8080", "service/box": "80"} {
		forward := c.Background("exec kubectl port-forward " + target + " 18080:" + port)
		c.Eventually(20*time.Second, "port-forward to "+target, func() error { return answers(c, "http://127.0.0.1:18080/", "here") })
		if err := answers(c, "http://127.0.0.1:18080/", "here"); err != nil {
			t.Errorf("the second request through port-forward to %s: %v", target, err)
		}
		forward.Stop()
	}
	for _, path := range []string{"pods/box:8080", "pods/http:box:8080", "pods/box", "services/box", "services/box:80", "services/http:box:80"} {
		if got := c.Kubectl("get", "--raw", "/api/v1/namespaces/default/"+path+"/proxy/index.html"); got != "here\n" {
			t.Errorf("%s/proxy answers %q", path, got)
		}
	}
	c.Kubectl("debug", "box", "--image=headway.dev/test/busybox:1", "--target=web", "--container=debug", "--", "sh", "-c", "ps; cat /proc/1/root/www/index.html; exit 3")
	c.Eventually(30*time.Second, "the debug container ends", func() error {
		if got := c.Kubectl("get", "pod", "box", "-o", "jsonpath={.status.ephemeralContainerStatuses[*].state.terminated.exitCode} {.status.phase}"); got != "3 Running" {
			return fmt.Errorf("exit code and phase: %s", got)
		}
		return nil
	})
	if got := c.Kubectl("logs", "box", "-c", "debug"); !strings.Contains(got, "httpd -f -p 8080") || !strings.HasSuffix(got, "\nhere\n") {
		t.Errorf("kubectl debug --target sees of the container's processes and files:\n%s", got)
	}
	again := c.Background("(echo hello; sleep 2) | kubectl debug -i box --image=headway.dev/test/busybox:1 -- sh -c 'read line; echo got $line'")
	c.Eventually(30*time.Second, "kubectl debug -i attaches", func() error { return again.Has("got hello") })
	again.Stop()

	dir := t.TempDir()
	content := strings.Repeat("0123456789abcdef", 1<<16)
	if err := os.WriteFile(filepath.Join(dir, "up"), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Kubectl("cp", filepath.Join(dir, "up"), "box:/tmp/file", "-c", "web")
	c.Kubectl("cp", "box:/tmp/file", filepath.Join(dir, "down"), "-c", "web")
	if got, err := os.ReadFile(filepath.Join(dir, "down")); err != nil || string(got) != content {
		t.Errorf("copied there and back: %d bytes, %v; want the %d bytes of before", len(got), err, len(content))
	}

	follow := c.Background("kubectl logs -f box -c echo; echo followed: $?")
	c.Eventually(20*time.Second, "the log is followed", func() error { return follow.Has("heard to you") })
	watch := c.Background("exec kubectl get pods --watch")
	c.Eventually(20*time.Second, "the watch shows the pod", func() error { return watch.Has("box") })
	c.Kubectl("delete", "pod", "box", "--timeout=60s")
	c.Eventually(20*time.Second, "logs -f ends with the pod", func() error { return follow.Has("followed: 0") })
	c.Eventually(20*time.Second, "the watch shows the end", func() error { return watch.Has("Terminating") })
	watch.Stop()
}

// kubectl run -i --rm gives a program its input, prints what it prints, ends
// with its exit code and leaves nothing.
func TestKubectlRun(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	r := c.Run("in\n", "kubectl", "run", "once", "-i", "--rm", "--restart=Never", "--quiet", "--image=headway.dev/test/busybox:1", "--", "sh", "-c", "read line; echo out $line; exit 3")
	if r.Code != 3 || !strings.Contains(r.Stdout, "out in") {
		t.Errorf("kubectl run: exit code %d, want 3\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if _, err := c.Client().CoreV1().Pods("default").Get(t.Context(), "once", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the pod of kubectl run --rm is still there: %v", err)
	}
}

// A program that ends at once loses nothing of what it printed to kubectl run -i,
// nor says it twice, whether kubectl comes before its end or after.
func TestKubectlRunShort(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "%d\n", i+1)
	}
	var group sync.WaitGroup
	names := make(chan string)
	for range 3 {
		group.Go(func() {
			for name := range names {
				r := c.Run("in\n", "kubectl", "run", name, "-i", "--rm", "--restart=Never", "--quiet", "--image=headway.dev/test/busybox:1", "--", "sh", "-c", "cat; seq 1 2000; exit 7")
				if got := "in\n" + want.String(); r.Stdout != got || r.Code != 7 {
					t.Errorf("%s: exit code %d, %d of %d bytes: %q …\n%s", name, r.Code, len(r.Stdout), len(got), r.Stdout[:min(len(r.Stdout), 40)], r.Stderr)
				}
			}
		})
	}
	for i := range 10 {
		names <- fmt.Sprintf("with-input-%d", i)
	}
	close(names)
	group.Wait()
	names = make(chan string)
	for range 3 {
		group.Go(func() {
			for name := range names {
				r := c.Run("", "kubectl", "run", name, "-i", "--rm", "--restart=Never", "--quiet", "--image=headway.dev/test/busybox:1", "--", "seq", "1", "2000")
				if r.Stdout != want.String() || r.Code != 0 {
					t.Errorf("%s: exit code %d, %d of %d bytes: %q …\n%s", name, r.Code, len(r.Stdout), want.Len(), r.Stdout[:min(len(r.Stdout), 40)], r.Stderr)
				}
			}
		})
	}
	for i := range 20 {
		names <- fmt.Sprintf("short-%d", i)
	}
	close(names)
	group.Wait()
}
