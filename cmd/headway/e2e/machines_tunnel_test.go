package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/cmd/headway/e2e"
)

// talking is a pod on each node that answers its standard input, and requests.
const talking = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: default}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        command: [sh, -c, "mkdir /www; echo on $NODE > /www/index.html; httpd -p 8080 -h /www; while sleep 1; do echo tick on $NODE; done"]
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
      - name: echo
        image: "headway.dev/test/busybox:1"
        command: [sh, -c, "while read line; do echo \"heard $line\"; done"]
        stdin: true
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

// staying are pods that leave a node which is gone for ten seconds.
const staying = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: staying, namespace: default}
spec:
  replicas: 4
  selector: {matchLabels: {app: staying}}
  template:
    metadata: {labels: {app: staying}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 10}
      containers:
      - {name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"]}
`

// hook is a webhook that answers without TLS, so that what comes of it is known.
const hook = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: asked}
webhooks:
- name: asked.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  objectSelector: {matchLabels: {asked: "yes"}}
  clientConfig: {service: {namespace: default, name: web, port: 80}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
`

// A server that runs no pods, and reaches no node: neither node-3, which drops what it
// sends, nor any pod, to which it has no route. All goes through the tunnels, also after
// the link was cut, and after the server and an agent were killed.
func TestTunnel(t *testing.T) {
	t.Parallel()
	m := e2e.StartServer(t, e2e.BusyboxImages(t), "--node-monitor-grace-period", "15s")
	join := m.Token()
	m.Join("node-2", join...)
	third := m.Join("node-3", join...)
	m.Unreachable("node-3")
	m.Ready(time.Minute, corev1.ConditionTrue, "node-2", "node-3")
	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("talking.yaml", talking+staying)
	m.Deployed(m.Clone.Push("a pod on each node"))
	pods := podsByNode(t, m, 2)

	if r := m.Run("", "bash", "-c", "exec timeout 3 bash -c 'exec 3<>/dev/tcp/10.67.0.3/10250'"); r.Code != 124 {
		t.Errorf("the server dials the agent, and its packets are not lost: exit code %d\n%s", r.Code, r.Stderr)
	}
	streamed(t, m, "node-3", pods["node-3"])
	streamed(t, m, "node-2", pods["node-2"])
	proxied(t, m, pods)

	m.Cut("node-3", true)
	m.Ready(2*time.Minute, corev1.ConditionUnknown, "node-3")
	m.Cut("node-3", false)
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-3")
	streamed(t, m, "node-3", pods["node-3"])

	m.Program.Kill()
	m.Up()
	streamed(t, m, "node-3", pods["node-3"])
	third.Program.Kill()
	third.Program.Spawn()
	streamed(t, m, "node-3", pods["node-3"])
	proxied(t, m, pods)

	// The server's own link is cut: all nodes are silent, which says nothing of them.
	before := lives(t, m)
	m.Cut("node-1", true)
	m.Ready(2*time.Minute, corev1.ConditionUnknown, "node-2", "node-3")
	pause(t, 15*time.Second) // pods would have to go after ten
	if now := lives(t, m); now != before {
		t.Errorf("while all nodes were silent the pods were\n%s\nand are\n%s", before, now)
	}
	for _, node := range []string{"node-2", "node-3"} {
		if taints := m.Kubectl("get", "node", node, "-o", "jsonpath={.spec.taints}"); !strings.Contains(taints, "unreachable") || strings.Contains(taints, "NoExecute") {
			t.Errorf("%s is silent as all nodes are, and has the taints %s", node, taints)
		}
	}
	m.Cut("node-1", false)
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-2", "node-3")
	streamed(t, m, "node-3", pods["node-3"])
	if now := lives(t, m); now != before {
		t.Errorf("before the server was cut off the pods were\n%s\nand are\n%s", before, now)
	}
}

// lives are all pods: which they are, where, and how often their containers were restarted.
func lives(t *testing.T, m *e2e.Machines) string {
	t.Helper()
	return m.Kubectl("get", "pods", "--sort-by=.metadata.name", "-o", "custom-columns=NAME:.metadata.name,UID:.metadata.uid,NODE:.spec.nodeName,DELETED:.metadata.deletionTimestamp,RESTARTS:.status.containerStatuses[*].restartCount")
}

// streamed looks that what kubectl does with a pod reaches it.
func streamed(t *testing.T, m *e2e.Machines, node string, p corev1.Pod) {
	t.Helper()
	m.Eventually(time.Minute, "exec reaches "+node, func() error {
		r := m.Run("from here", "kubectl", "exec", "-i", p.Name, "-c", "main", "--", "sh", "-c", "echo got $(cat); exit 7")
		if r.Code != 7 || strings.TrimSpace(r.Stdout) != "got from here" {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	followed := m.Background("exec kubectl logs -f --tail=1 " + p.Name + " -c main")
	attached := m.Background("(echo to you; sleep 30) | kubectl attach -i " + p.Name + " -c echo")
	forward := m.Background("exec kubectl port-forward " + p.Name + " 18080:8080")
	m.Eventually(20*time.Second, "port-forward reaches "+node, func() error { return reaches(m.HTTP, "http://127.0.0.1:18080/", "on "+node) })
	m.Eventually(20*time.Second, "attach reaches "+node, func() error { return attached.Has("heard to you") })
	m.Eventually(20*time.Second, "logs are followed on "+node, func() error { return followed.Has("tick on " + node + "\ntick on " + node + "\n") })
	for _, b := range []*e2e.Background{followed, attached, forward} {
		b.Stop()
	}
	m.Eventually(time.Minute, "top knows "+node, func() error {
		for _, args := range [][]string{{"node", node}, {"pod", p.Name}} {
			if r := m.Run("", append([]string{"kubectl", "top"}, append(args, "--no-headers")...)...); r.Code != 0 || !strings.Contains(r.Stdout, "Mi") {
				return fmt.Errorf("top %v: %d %s%s", args, r.Code, r.Stdout, r.Stderr)
			}
		}
		return nil
	})
}

// proxied looks that the API itself reaches pods: by their proxy, that of their Service,
// and as a webhook.
func proxied(t *testing.T, m *e2e.Machines, pods map[string]corev1.Pod) {
	t.Helper()
	seen := map[string]bool{}
	m.Eventually(time.Minute, "the proxy of the Service leads to all nodes", func() error {
		r := m.Run("", "kubectl", "get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy/")
		seen[strings.TrimSpace(r.Stdout)] = true
		if !seen["on node-2"] || !seen["on node-3"] {
			return fmt.Errorf("so far %v: %s", seen, r.Stderr)
		}
		return nil
	})
	for node, p := range pods {
		contains(t, "the pod's proxy", m.Kubectl("get", "--raw", "/api/v1/namespaces/default/pods/"+p.Name+":8080/proxy/"), "on "+node)
	}
	m.KubectlIn(hook, "apply", "-f", "-")
	m.Eventually(30*time.Second, "the webhook is asked", func() error {
		r := m.Run(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "asked-", "namespace": "default", "labels": {"asked": "yes"}}}`, "kubectl", "create", "-f", "-")
		if r.Code == 0 || !strings.Contains(r.Stderr, "server gave HTTP response to HTTPS client") {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	m.Kubectl("delete", "validatingwebhookconfiguration", "asked")
}
