package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/util/podutils"

	"headway.dev/cmd/headway/e2e"
)

// greeting is a Deployment that loses no request when it rolls, and whose pods leave a
// node that is gone after five seconds; and its Service.
const greeting = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: %d
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 10}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 5}
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        command: [web]
        env: [{name: MESSAGE, value: %q}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 3}}}
        resources: {requests: {cpu: 1m, memory: 4Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: client, namespace: default}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"]}]
`

// Two machines join while 50 pods roll, packets are lost between all machines, one is far
// away, and one dies under load and comes back. Through the cluster IP no request fails but those
// that were for pods of the dead machine before it was noticed.
func TestMachinesUnderLoad(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t, "headway.dev/examples/web"))
	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	roll := func(replicas int, message string) map[string][]corev1.Pod {
		t.Helper()
		m.Clone.Write("web.yaml", fmt.Sprintf(greeting, replicas, message))
		commit := m.Clone.Push(message)
		pods := rolled(t, m, replicas, message)
		m.Deployed(commit)
		return pods
	}
	roll(50, "Hello")
	url := "http://" + strings.TrimSpace(m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")) + "/"
	m.Eventually(time.Minute, "the Service answers", greeted(m.HTTP, url))

	// Machines join while pods roll, and have some by the next time.
	join := m.Token()
	joining := loadFrom(greeted(m.HTTP, url))
	m.Join("node-2", join...)
	m.Join("node-3", join...)
	roll(50, "Hello again")
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	for _, node := range []string{"node-2", "node-3"} {
		m.Eventually(time.Minute, "the Service answers on "+node, greeted(m.On(node).HTTP, url))
	}
	joined := loadFrom(greeted(m.On("node-3").HTTP, url))
	everywhere := roll(50, "Hello from everywhere")
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		if len(everywhere[node]) == 0 {
			t.Errorf("%s has no pods", node)
		}
	}
	unharmed(t, "while machines joined", joining)
	unharmed(t, "of a machine that has joined", joined)

	// A fifth of all packets is lost: nodes stay ready, and pods roll.
	roll(12, "Hello from few")
	since := nodesReadySince(t, m)
	m.Lossy(20)
	roll(12, "Hello through losses")
	if now := nodesReadySince(t, m); fmt.Sprint(now) != fmt.Sprint(since) {
		t.Errorf("nodes were not ready while packets were lost: they are since %v, and were since %v", now, since)
	}
	m.Lossy(0)

	farAway(t, m, url, func() map[string][]corev1.Pod { return roll(12, "Hello from afar") })

	// A machine dies, and its link.
	m.Program.Stop()
	m.Program.AddFlags("--node-monitor-grace-period", "15s")
	m.Up()
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	dies(t, m, url, rolled(t, m, 12, "Hello from afar"))
	// From others than before: who takes the port again from which it has asked a dead pod
	// in the last two minutes gets the same silence, because the kernel takes it for one
	// more try.
	var loads []*load
	for _, p := range list(t, m, "app=client") {
		if node := p.Spec.NodeName; node != "node-3" {
			loads = append(loads, loadFrom(greeted(m.On(node).Pod(string(p.UID)), url)))
		}
	}
	m.Eventually(time.Minute, "the pods of the dead machine are replaced", func() error {
		pods, err := ready(t, m, "Hello from afar")
		if n := len(pods["node-1"]) + len(pods["node-2"]); err == nil && n != 12 {
			err = fmt.Errorf("%d pods are ready elsewhere", n)
		}
		return err
	})

	// It comes back without hand work.
	m.Cut("node-3", false)
	m.On("node-3").Program.Spawn()
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-3")
	if pods := roll(12, "Hello after all")["node-3"]; len(pods) == 0 {
		t.Error("the machine that is back has no pods")
	}
	for _, l := range loads {
		unharmed(t, "after the dead machine was noticed", l)
	}
	m.Eventually(time.Minute, "what was replaced is gone", func() error {
		if all := list(t, m, "app=web"); len(all) != 12 {
			return fmt.Errorf("%d pods", len(all))
		}
		return nil
	})
}

// farAway has a machine so far from the others that an answer takes a fifth of a second:
// its node stays ready, pods roll there without a failed request, and their logs and
// programs are reached.
func farAway(t *testing.T, m *e2e.Machines, url string, roll func() map[string][]corev1.Pod) {
	t.Helper()
	const delay = 100 * time.Millisecond
	since := nodesReadySince(t, m)
	m.Far("node-2", delay)
	m.Eventually(10*time.Second, "the far machine is reached", func() error {
		start := time.Now()
		conn, err := m.Here().Dial(t.Context(), "tcp", "10.66.0.2:10250")
		if err != nil {
			return err
		}
		if took := time.Since(start); took < 2*delay {
			t.Errorf("a connection to the far machine took %s", took)
		}
		return conn.Close()
	})
	load, there := loadFrom(greeted(m.HTTP, url)), loadFrom(greeted(m.On("node-2").HTTP, url))
	pods := roll()["node-2"]
	if len(pods) == 0 {
		t.Error("the far machine has no pods")
	}
	for _, p := range pods[:min(1, len(pods))] {
		contains(t, "exec", m.Kubectl("exec", p.Name, "--", "sh", "-c", "echo inside $MESSAGE"), "inside "+p.Spec.Containers[0].Env[0].Value)
		contains(t, "logs", m.Kubectl("logs", p.Name), "serving")
	}
	unharmed(t, "to a far machine", load)
	unharmed(t, "of a far machine", there)
	if now := nodesReadySince(t, m); fmt.Sprint(now) != fmt.Sprint(since) {
		t.Errorf("nodes were not ready while one was far: they are since %v, and were since %v", now, since)
	}
	m.Near("node-2")
}

// dies cuts node-3 off and kills all that runs there, under load, and returns when no
// other machine leads requests there. Those that fail until then had no answer from there.
func dies(t *testing.T, m *e2e.Machines, url string, pods map[string][]corev1.Pod) {
	t.Helper()
	if len(pods["node-3"]) == 0 {
		t.Fatal("the machine that dies has no pods")
	}
	dead := map[string]bool{}
	for _, p := range pods["node-3"] {
		dead[p.Status.PodIP] = true
	}
	load := loadFrom(greeted(m.HTTP, url))
	start := time.Now()
	m.Cut("node-3", true)
	m.On("node-3").Processes.KillAll()
	m.Eventually(time.Minute, "no machine sends requests to the dead one", func() error {
		for _, node := range []string{"node-1", "node-2"} {
			rules := m.On(node).Run("", "iptables-save", "-t", "nat").Stdout
			if !strings.Contains(rules, "default/web") {
				return fmt.Errorf("%s has no rules for the Service:\n%s", node, rules)
			}
			for ip := range dead {
				if strings.Contains(rules, ip+":") {
					return fmt.Errorf("%s sends to %s", node, ip)
				}
			}
		}
		return nil
	})
	noticed := time.Since(start)
	unanswered := m.Unanswered(strings.Trim(url, "htp:/"))
	sent, failures := load.stop()
	t.Logf("noticed after %s; %d of %d requests failed, %d connections had no answer", noticed, len(failures), sent, len(unanswered))
	if len(unanswered) == 0 || sent == len(failures) {
		t.Errorf("no connection was to a pod of the dead machine, or all were: %d of %d failed", len(failures), sent)
	}
	for _, to := range unanswered {
		if !dead[to] {
			t.Errorf("a connection to %s, which runs elsewhere, had no answer", to)
		}
	}
	for _, err := range failures {
		if timeout := net.Error(nil); !errors.Is(err, os.ErrDeadlineExceeded) && (!errors.As(err, &timeout) || !timeout.Timeout()) {
			t.Errorf("a request failed otherwise than by silence: %v", err)
		}
	}
	m.Ready(10*time.Second, corev1.ConditionUnknown, "node-3")
}

// unharmed ends a load, none of whose requests may have failed.
func unharmed(t *testing.T, what string, l *load) {
	t.Helper()
	sent, failures := l.stop()
	if sent < 50 || len(failures) > 0 {
		t.Errorf("%s %d of %d requests failed: %v", what, len(failures), sent, errors.Join(failures[:min(len(failures), 5)]...))
	}
}

// rolled waits until so many pods are ready, all of them with a message.
func rolled(t *testing.T, m *e2e.Machines, want int, message string) map[string][]corev1.Pod {
	t.Helper()
	var pods map[string][]corev1.Pod
	m.Eventually(5*time.Minute, fmt.Sprintf("%d pods say %s", want, message), func() (err error) {
		pods, err = ready(t, m, message)
		n := 0
		for _, on := range pods {
			n += len(on)
		}
		if err == nil && n != want {
			err = fmt.Errorf("%d are ready", n)
		}
		return err
	})
	return pods
}

// ready are the ready pods with a message, by their nodes.
func ready(t *testing.T, m *e2e.Machines, message string) (map[string][]corev1.Pod, error) {
	t.Helper()
	pods := map[string][]corev1.Pod{}
	found, err := m.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return nil, err
	}
	for _, p := range found.Items {
		if p.DeletionTimestamp == nil && podutils.IsPodReady(&p) && p.Spec.Containers[0].Env[0].Value == message {
			pods[p.Spec.NodeName] = append(pods[p.Spec.NodeName], p)
		}
	}
	return pods, nil
}

// nodesReadySince is since when each node is ready.
func nodesReadySince(t *testing.T, m *e2e.Machines) map[string]string {
	t.Helper()
	nodes, err := m.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	since := map[string]string{}
	for _, node := range nodes.Items {
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				since[node.Name] = fmt.Sprint(c.Status, c.LastTransitionTime.UTC())
			}
		}
	}
	return since
}
