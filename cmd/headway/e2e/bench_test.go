package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/e2e"
)

// The benchmarks measure whole clusters; one operation is one story, so run
// them with -benchtime=1x and -count for more than one sample. Metrics are
// named by what they count: ms of wall time, cpu-s of processor time of the
// program, its containerd, their children and the containers.

// BenchmarkStart measures from the start of the program to an API that
// answers, and to all pods of the example Ready.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		c := e2e.New(b)
		start := time.Now()
		c.Program.Spawn()
		client := clientFor(b, c)
		c.Eventually(time.Minute, "the API is ready", func() error {
			_, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(b.Context())
			return err
		})
		b.ReportMetric(ms(start), "ms-to-api")
		waitReady(b, c, "hello", 3)
		b.ReportMetric(ms(start), "ms-to-example")
	}
}

// BenchmarkIdle measures memory and CPU of a cluster that does nothing.
func BenchmarkIdle(b *testing.B) {
	for _, pods := range []int{0, 50} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) {
			c := e2e.Start(b)
			pushWorkload(b, c, "one", pods)
			waitReady(b, c, "load", pods)
			// What starting took is let go before idleness is measured.
			pause(b, 20*time.Second)
			for b.Loop() {
				start, before := time.Now(), c.Processes.Usage()
				pause(b, 30*time.Second)
				for part, usage := range c.Processes.Usage() {
					b.ReportMetric(float64(usage.PSS)/(1<<20), part+"-MiB")
					b.ReportMetric(float64(usage.CPU-before[part].CPU)/float64(time.Since(start))*100, part+"-cpu-%")
				}
			}
		})
	}
}

// BenchmarkPods measures a commit that brings pods, one that changes them all,
// and one that removes them.
func BenchmarkPods(b *testing.B) {
	for _, pods := range []int{1, 50, 100} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) {
			for b.Loop() {
				c := e2e.Start(b)
				pushWorkload(b, c, "one", 0)
				waitReady(b, c, "hello", 0)

				phases := watchPods(b, c)
				before := c.Processes.CPU()
				start := time.Now()
				pushWorkload(b, c, "one", pods)
				waitReady(b, c, "load", pods)
				b.ReportMetric(ms(start), "create-ms")
				b.ReportMetric((c.Processes.CPU() - before).Seconds(), "create-cpu-s")
				phases.report(b, start)

				before, start = c.Processes.CPU(), time.Now()
				pushWorkload(b, c, "two", pods)
				waitRolled(b, c, pods, "two")
				b.ReportMetric(ms(start), "update-ms")
				b.ReportMetric((c.Processes.CPU() - before).Seconds(), "update-cpu-s")

				before, start = c.Processes.CPU(), time.Now()
				pushWorkload(b, c, "two", 0)
				waitReady(b, c, "load", 0)
				b.ReportMetric(ms(start), "delete-ms")
				b.ReportMetric((c.Processes.CPU() - before).Seconds(), "delete-cpu-s")
			}
		})
	}
}

// clientFor is a client of the cluster, once it has written its kubeconfig.
func clientFor(b *testing.B, c *e2e.Cluster) kubernetes.Interface {
	b.Helper()
	var client kubernetes.Interface
	c.Eventually(time.Minute, "there is a kubeconfig", func() error {
		config, err := c.Config()
		if err != nil {
			return err
		}
		client, err = kubernetes.NewForConfig(config)
		return err
	})
	return client
}

// workload is a Deployment of one-container pods.
const workload = `apiVersion: v1
kind: Namespace
metadata: {name: load}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: load, namespace: load}
spec:
  replicas: %d
  selector: {matchLabels: {app: load}}
  template:
    metadata: {labels: {app: load}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: headway.dev/examples/web:1.0.0
        env: [{name: MESSAGE, value: %q}]
        resources: {requests: {cpu: 1m, memory: 4Mi}}
`

// pushWorkload makes the repository hold the workload alone.
func pushWorkload(b *testing.B, c *e2e.Cluster, message string, pods int) {
	b.Helper()
	c.Clone.Git("rm", "-r", "-q", "--ignore-unmatch", "apps", "kustomization.yaml")
	c.Clone.Write("load.yaml", fmt.Sprintf(workload, pods, message))
	c.Clone.Push(fmt.Sprintf("%d pods say %s", pods, message))
}

// waitReady waits until a namespace holds exactly so many pods, all Ready.
func waitReady(b *testing.B, c *e2e.Cluster, namespace string, want int) {
	b.Helper()
	waitPods(b, c, namespace, func(pods map[string]*corev1.Pod) bool {
		for _, pod := range pods {
			if !podutils.IsPodReady(pod) {
				return false
			}
		}
		return len(pods) == want
	})
}

// waitRolled waits until all pods are Ready and of the template with message.
func waitRolled(b *testing.B, c *e2e.Cluster, want int, message string) {
	b.Helper()
	waitPods(b, c, "load", func(pods map[string]*corev1.Pod) bool {
		for _, pod := range pods {
			if !podutils.IsPodReady(pod) || pod.Spec.Containers[0].Env[0].Value != message {
				return false
			}
		}
		return len(pods) == want
	})
}

// waitPods follows the pods of a namespace until they are as wanted.
func waitPods(b *testing.B, c *e2e.Cluster, namespace string, done func(map[string]*corev1.Pod) bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	client := clientFor(b, c).CoreV1().Pods(namespace)
	for {
		list, err := client.List(ctx, metav1.ListOptions{})
		if err != nil {
			b.Fatal(err)
		}
		pods := map[string]*corev1.Pod{}
		for i := range list.Items {
			pods[list.Items[i].Name] = &list.Items[i]
		}
		w, err := client.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			b.Fatal(err)
		}
		for !done(pods) {
			event, open := <-w.ResultChan()
			if !open {
				break
			}
			switch pod, ok := event.Object.(*corev1.Pod); {
			case !ok:
			case event.Type == watch.Deleted:
				delete(pods, pod.Name)
			default:
				pods[pod.Name] = pod
			}
		}
		w.Stop()
		if done(pods) {
			return
		}
		if ctx.Err() != nil {
			b.Fatalf("the pods of %s are not as wanted after five minutes: %d pods\n%s", namespace, len(pods), c.Program.Output())
		}
	}
}

// phases are the moments at which the last pod passed each step.
type phases struct {
	stop  func()
	ended chan map[string]time.Time
}

func watchPods(b *testing.B, c *e2e.Cluster) *phases {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	w, err := clientFor(b, c).CoreV1().Pods("load").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	p := &phases{stop: cancel, ended: make(chan map[string]time.Time, 1)}
	go func() {
		defer w.Stop()
		last := map[string]time.Time{}
		seen := map[string]bool{}
		mark := func(pod *corev1.Pod, phase string, reached bool) {
			if key := phase + "/" + pod.Name; reached && !seen[key] {
				seen[key] = true
				last[phase] = time.Now()
			}
		}
		for event := range w.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				mark(pod, "created", true)
				mark(pod, "scheduled", pod.Spec.NodeName != "")
				mark(pod, "running", pod.Status.Phase == corev1.PodRunning)
				mark(pod, "ready", podutils.IsPodReady(pod))
			}
		}
		p.ended <- last
	}()
	return p
}

func (p *phases) report(b *testing.B, start time.Time) {
	b.Helper()
	p.stop()
	for phase, at := range <-p.ended {
		b.ReportMetric(float64(at.Sub(start).Milliseconds()), "last-"+phase+"-ms")
	}
}

func ms(start time.Time) float64 { return float64(time.Since(start).Microseconds()) / 1000 }

// pause lets the cluster be idle.
func pause(tb testing.TB, d time.Duration) {
	tb.Helper()
	select {
	case <-time.After(d):
	case <-tb.Context().Done():
	}
}
