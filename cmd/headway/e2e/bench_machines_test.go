package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/e2e"
)

// apart are two pods on node-1 and one on each other node, and a Service of each node's
// first.
func apart() string {
	var b strings.Builder
	for _, p := range []struct{ name, node string }{{"one", "node-1"}, {"beside", "node-1"}, {"two", "node-2"}, {"three", "node-3"}} {
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: default, labels: {app: %[1]s}}
spec:
  nodeName: %[2]s
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: default}
spec: {selector: {app: %[1]s}, ports: [{port: 80, targetPort: 9000}]}
`, p.name, p.node)
	}
	b.WriteString(`---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: two, namespace: default}
spec:
  ingressClassName: headway
  defaultBackend: {service: {name: two, port: {number: 80}}}
`)
	return b.String()
}

// BenchmarkMachines measures three machines: what the server and the agents take when
// nothing happens, and the ways between pods against the plain link between the machines.
// Both ends of each connection are this program, which enters the pods' networks: one byte
// there and back a time, and as much as goes through in three seconds.
func BenchmarkMachines(b *testing.B) {
	m := e2e.StartMachines(b, e2e.BusyboxImages(b))
	join := m.Token()
	m.Join("node-2", join...)
	m.Join("node-3", join...)
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("apart.yaml", apart())
	m.Deployed(m.Clone.Push("pods apart"))
	pods := map[string]corev1.Pod{}
	m.Eventually(time.Minute, "the pods run", func() error {
		for _, name := range []string{"one", "beside", "two", "three"} {
			p, err := m.Client().CoreV1().Pods("default").Get(b.Context(), name, metav1.GetOptions{})
			if err != nil || !podutils.IsPodReady(p) {
				return fmt.Errorf("%s is not ready: %w", name, err)
			}
			pods[name] = *p
		}
		return nil
	})

	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			pause(b, 30*time.Second)
			nodes := []string{"node-1", "node-2", "node-3"}
			before := map[string]time.Duration{}
			for _, node := range nodes {
				before[node] = m.On(node).Processes.Usage()["headway"].CPU
			}
			const rest = time.Minute
			pause(b, rest)
			for _, node := range nodes {
				now := m.On(node).Processes.Usage()["headway"]
				b.ReportMetric(float64(now.PSS)/(1<<20), node+"-MiB")
				b.ReportMetric((now.CPU-before[node]).Seconds()/rest.Seconds()*100, node+"-cpu-%")
			}
		}
	})

	inPod := func(name string) e2e.Place { return m.On(pods[name].Spec.NodeName).InPod(string(pods[name].UID)) }
	service := func(name string) string {
		return strings.TrimSpace(m.Kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}")) + ":80"
	}
	for _, way := range []struct {
		name     string
		from, at e2e.Place
		to       string
	}{
		{"link", m.Here(), m.On("node-2").Here(), "10.66.0.2:9000"},
		{"routed link", m.Here(), m.On("node-3").Here(), "10.67.0.3:9000"},
		{"pod to pod on one node", inPod("one"), inPod("beside"), pods["beside"].Status.PodIP + ":9000"},
		{"pod to pod across the link", inPod("one"), inPod("two"), pods["two"].Status.PodIP + ":9000"},
		{"pod to pod through VXLAN", inPod("one"), inPod("three"), pods["three"].Status.PodIP + ":9000"},
		{"through the cluster IP on one node", inPod("one"), inPod("beside"), service("beside")},
		{"through the cluster IP across the link", inPod("one"), inPod("two"), service("two")},
		{"through the cluster IP and VXLAN", inPod("one"), inPod("three"), service("three")},
	} {
		b.Run(way.name, func(b *testing.B) {
			stop := answering(way.at.Listen(":9000"))
			defer stop()
			for b.Loop() {
				there(b, way.from, way.to)
			}
		})
	}
	for _, way := range []struct {
		name, url string
		at        e2e.Place
	}{
		{"HTTP over the link", "http://10.66.0.2:9000/", m.On("node-2").Here()},
		{"HTTP over the link to a pod", "http://" + pods["two"].Status.PodIP + ":9000/", inPod("two")},
		{"HTTP through the Ingress", "http://10.66.0.2/", inPod("two")},
	} {
		b.Run(way.name, func(b *testing.B) {
			stop := swallowing(way.at.Listen(":9000"))
			defer stop()
			for b.Loop() {
				exchange(b, m, way.url)
			}
		})
	}
}

// swallowing reads each request's body, and answers with a byte; stop ends it.
func swallowing(l net.Listener) (stop func()) {
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			_, _ = io.WriteString(w, "p")
		}
	})}
	var serve sync.WaitGroup
	serve.Go(func() { _ = server.Serve(l) }) // it ends with ErrServerClosed
	return func() {
		_ = server.Close()
		serve.Wait()
	}
}

// exchange is there for HTTP, over one connection: 5,000 requests one after the other, and
// one with as large a body as goes through in three seconds.
func exchange(b *testing.B, m *e2e.Machines, url string) {
	b.Helper()
	transport := &http.Transport{DialContext: m.Here().Dial}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ask := func(body io.Reader) error {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, body)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if got, err := io.ReadAll(answer.Body); err != nil || string(got) != "p" {
			return fmt.Errorf("%s: %.100q, %w", answer.Status, got, err)
		}
		return nil
	}
	m.Eventually(time.Minute, url+" answers", func() error { return ask(http.NoBody) })
	times := make([]time.Duration, 5000)
	for i := range times {
		start := time.Now()
		if err := ask(http.NoBody); err != nil {
			b.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1000, "p99-us")
	body := &timed{until: time.Now().Add(3 * time.Second)}
	start := time.Now()
	if err := ask(body); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(body.sent)*8/1e9/time.Since(start).Seconds(), "Gbit/s")
}

// timed is a body that ends at a time.
type timed struct {
	until time.Time
	sent  int
}

// Read implements io.Reader.
func (t *timed) Read(p []byte) (int, error) {
	if time.Now().After(t.until) {
		return 0, io.EOF
	}
	t.sent += len(p)
	return len(p), nil
}

// answering answers each byte 'p' with one, and takes all else; stop ends it.
func answering(l net.Listener) (stop func()) {
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if n == 1 && buf[0] == 'p' {
						if _, err := conn.Write(buf[:1]); err != nil {
							return
						}
					}
				}
			})
		}
	})
	return func() {
		_ = l.Close()
		conns.Wait()
	}
}

// there measures one way: the middle of 5,000 bytes there and back, and what goes through.
func there(b *testing.B, from e2e.Place, to string) {
	b.Helper()
	conn, err := from.Dial(b.Context(), "tcp", to)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	times := make([]time.Duration, 5000)
	one := []byte{'p'}
	for i := range times {
		start := time.Now()
		if _, err := conn.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, one); err != nil {
			b.Fatal(err)
		}
		times[i] = time.Since(start)
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds())/1000, "p99-us")
	block := make([]byte, 64<<10)
	sent, start := 0, time.Now()
	for time.Since(start) < 3*time.Second {
		n, err := conn.Write(block)
		if err != nil {
			b.Fatal(err)
		}
		sent += n
	}
	b.ReportMetric(float64(sent)*8/1e9/time.Since(start).Seconds(), "Gbit/s")
}

// BenchmarkNodeLoss measures a machine's loss with 30 pods of a Deployment on three nodes,
// from its cable's end: until the node is not ready, and until the last pod is replaced.
func BenchmarkNodeLoss(b *testing.B) {
	for _, setting := range []struct {
		name  string
		flags []string
	}{
		{"defaults", nil},
		{"10s", []string{"--default-unreachable-toleration-seconds", "10", "--default-not-ready-toleration-seconds", "10"}},
		{"10s and a grace of 15s", []string{"--default-unreachable-toleration-seconds", "10", "--default-not-ready-toleration-seconds", "10", "--node-monitor-grace-period", "15s"}},
	} {
		b.Run(setting.name, func(b *testing.B) {
			for b.Loop() {
				lose(b, setting.flags...)
			}
		})
	}
}

func lose(b *testing.B, flags ...string) {
	b.Helper()
	b.StopTimer()
	m := e2e.StartMachines(b, e2e.BusyboxImages(b), flags...)
	join := m.Token()
	m.Join("node-2", join...)
	m.Join("node-3", join...)
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("lost.yaml", lost)
	m.Deployed(m.Clone.Push("pods that are lost"))
	b.StartTimer()
	start := time.Now()
	m.Cut("node-3", true)
	m.Ready(2*time.Minute, corev1.ConditionUnknown, "node-3")
	b.ReportMetric(time.Since(start).Seconds(), "s-until-not-ready")
	m.Eventually(10*time.Minute, "the pods of the lost node are replaced", func() error {
		found, err := m.Client().CoreV1().Pods("default").List(b.Context(), metav1.ListOptions{LabelSelector: "app=lost"})
		if err != nil {
			return err
		}
		n := 0
		for _, p := range found.Items {
			if p.DeletionTimestamp == nil && p.Spec.NodeName != "node-3" && podutils.IsPodReady(&p) {
				n++
			}
		}
		if n != 30 {
			return fmt.Errorf("%d run elsewhere", n)
		}
		return nil
	})
	b.ReportMetric(time.Since(start).Seconds(), "s-until-replaced")
}

const lost = `apiVersion: apps/v1
kind: Deployment
metadata: {name: lost, namespace: default}
spec:
  replicas: 30
  selector: {matchLabels: {app: lost}}
  template:
    metadata: {labels: {app: lost}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"], resources: {requests: {cpu: 1m, memory: 4Mi}}}]
`
