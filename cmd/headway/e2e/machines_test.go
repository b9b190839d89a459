package e2e_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// everywhere is a pod on each node that tells its name, and a Service of them.
const everywhere = `apiVersion: apps/v1
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
        command: [sh, -c, "mkdir /www; echo on $NODE > /www/index.html; echo serving on $NODE; head -c 2000000 /dev/zero > /www/large; exec httpd -f -p 8080 -h /www"]
        readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
`

// moving is a Deployment whose pods leave a node that is gone after a second.
const moving = `apiVersion: apps/v1
kind: Deployment
metadata: {name: moving, namespace: default}
spec:
  replicas: 6
  selector: {matchLabels: {app: moving}}
  template:
    metadata: {labels: {app: moving}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      containers:
      - {name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"]}
`

// Machines join by a token, on the same network and behind a router. Their pods reach
// each other and Services from everywhere, logs and exec reach them, they live through the
// server's death, and a machine that is lost is replaced and comes back.
func TestMachines(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t), "--node-monitor-grace-period", "15s")
	join := m.Token("--description", "the others")
	second, third := m.Join("node-2", join...), m.Join("node-3", join...)
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")

	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("everywhere.yaml", everywhere)
	m.Deployed(m.Clone.Push("a pod on each node"))
	pods := podsByNode(t, m, 3)
	service := strings.TrimSpace(m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	for node, p := range pods {
		resolves(t, m, node, p, service)
	}
	matrix(t, m, pods)

	for node, p := range pods {
		contains(t, "logs", m.Kubectl("logs", p.Name), "serving on "+node)
		contains(t, "exec", m.Kubectl("exec", p.Name, "--", "sh", "-c", "echo inside $NODE"), "inside "+node)
	}

	portsAreRefused(t, m, pods)

	// The server dies. What runs goes on, also an agent that starts meanwhile.
	m.Program.Kill()
	third.Program.Kill()
	third.Program.Spawn()
	third.Eventually(time.Minute, "the agent runs again without the server", func() error {
		if err := third.Program.Running(); err != nil {
			t.Fatal(err)
		}
		return reaches(second.HTTP, "http://"+pods["node-3"].Status.PodIP+":8080/", "on node-3")
	})
	for _, from := range []*e2e.Cluster{second, third} {
		for node, p := range pods {
			from.Eventually(20*time.Second, "pods are reached while the server is away", func() error {
				return reaches(from.HTTP, "http://"+p.Status.PodIP+":8080/", "on "+node)
			})
		}
	}
	resolves(t, m, "node-2", pods["node-2"], service)
	m.Up()
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	for node, p := range podsByNode(t, m, 3) {
		if p.UID != pods[node].UID || p.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("the pod of %s is not the one that ran, or was restarted: %+v", node, p.Status.ContainerStatuses)
		}
	}

	// A machine is lost, and comes back.
	m.Clone.Write("moving.yaml", moving)
	m.Deployed(m.Clone.Push("pods that move"))
	m.Cut("node-3", true)
	m.Ready(2*time.Minute, corev1.ConditionUnknown, "node-3")
	m.Eventually(time.Minute, "the pods of the lost node run elsewhere", func() error {
		for _, p := range list(t, m, "app=moving") {
			if p.DeletionTimestamp == nil && (p.Spec.NodeName == "node-3" || p.Status.Phase != corev1.PodRunning) {
				return fmt.Errorf("%s is %s on %q", p.Name, p.Status.Phase, p.Spec.NodeName)
			}
		}
		return nil
	})
	m.Cut("node-3", false)
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-3")
	matrix(t, m, podsByNode(t, m, 3))
	m.Eventually(time.Minute, "what was replaced ends on the node that is back", func() error {
		if all := list(t, m, "app=moving"); len(all) != 6 {
			return fmt.Errorf("%d pods", len(all))
		}
		return nil
	})
}

// A token lets nobody be a node that has joined, and one that is wrong, deleted or for
// another cluster lets in nobody; two agents with one certificate are told of; nor is an agent let in of a version too far away.
func TestJoinIsRefused(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t))
	join := m.Token()
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1")
	other := m.Machine("node-2")
	binary := e2e.Binary()
	refused := func(why, name string, command ...string) {
		t.Helper()
		r := other.Run("", append(append([]string{binary, "--data-dir", other.DataDir}, command...), "--node-name", name, "--node-ip", "10.66.0.2", "--cgroup-root", "none")...)
		if r.Code != 1 || !strings.Contains(r.Stderr, why) {
			t.Errorf("exit code %d, want 1 and %q:\n%s%s", r.Code, why, r.Stdout, r.Stderr)
		}
	}
	change := func(flag, value string) []string {
		changed := append([]string(nil), join...)
		for i := range changed {
			if changed[i] == flag {
				changed[i+1] = value
			}
		}
		return changed
	}
	token := join[len(join)-3]
	fresh := m.Token() // one that is not deleted
	refused("a node named node-1 has joined already", "node-1", join...)
	refused("the token's second half is not the one", "node-2", change("--token", token[:7]+"0123456789abcdef")...)
	refused("which is not the given one", "node-2", change("--ca-hash", "sha256:"+strings.Repeat("0", 64))...)
	refused("the server does not know this token", "node-2", change("--token", "abcdef.0123456789abcdef")...)
	contains(t, "token list", m.Headway("token", "list").Stdout, token[:6]+"   23h", "authentication,signing")
	if r := m.Headway("token", "delete", token[:6]); r.Code != 0 {
		t.Errorf("token delete: %d\n%s", r.Code, r.Stderr)
	}
	m.Eventually(time.Minute, "the deleted token lets in nobody", func() error {
		r := other.Run("", append(append([]string{e2e.Binary(), "--data-dir", other.DataDir}, join...), "--node-name", "node-2", "--node-ip", "10.66.0.2", "--cgroup-root", "none")...)
		if r.Code != 1 || !strings.Contains(r.Stderr, "does not know this token") {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	if nodes := m.Kubectl("get", "nodes", "-o", "name"); strings.TrimSpace(nodes) != "node/node-1" {
		t.Errorf("the nodes are\n%s", nodes)
	}

	// Agents of two minor versions away are refused, of one they are not.
	minor := func(version string) string { return strings.Replace(e2e.Version, "v0.5.", version, 1) }
	for version, why := range map[string]string{"v0.3.": "0.3.0-e2e.6c1f9b3a is too old: upgrade this agent first", "v0.7.": "0.5.0-e2e.6c1f9b3a is too old: upgrade the server first"} {
		binary = e2e.OfVersion(t, minor(version))
		refused(why, "node-2", fresh...)
	}
	other.Program.Use(e2e.OfVersion(t, minor("v0.6.")))
	m.Start(other, "node-2", fresh...)
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2")

	// A machine with a copy of another's data directory is told of.
	twin := m.Machine("node-3")
	if r := other.Run("", "sh", "-c", "mkdir -p "+twin.DataDir+" && cp -r "+other.DataDir+"/pki "+twin.DataDir); r.Code != 0 {
		t.Fatal(r.Stderr)
	}
	twin.Program.AddFlags("--node-ip", "10.67.0.3")
	m.Start(twin, "node-2", fresh...)
	m.Eventually(time.Minute, "people are told of two agents", func() error {
		events := m.Kubectl("events", "--for", "node/node-2")
		if !strings.Contains(events, "TwoAgents") || !strings.Contains(events, "10.67.0.3:") || !strings.Contains(events, "10.66.0.2:") {
			return fmt.Errorf("the events are\n%s", events)
		}
		return nil
	})
}

func list(t *testing.T, m *e2e.Machines, selector string) []corev1.Pod {
	t.Helper()
	found, err := m.Client().CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		t.Fatal(err)
	}
	return found.Items
}

// podsByNode waits for so many ready pods of app=web, one on each node.
func podsByNode(t *testing.T, m *e2e.Machines, want int) map[string]corev1.Pod {
	t.Helper()
	found := map[string]corev1.Pod{}
	m.Eventually(time.Minute, "the pods are ready", func() error {
		clear(found)
		for _, p := range list(t, m, "app=web") {
			for _, c := range p.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil {
					found[p.Spec.NodeName] = p
				}
			}
		}
		if len(found) != want {
			return fmt.Errorf("%d of %d", len(found), want)
		}
		return nil
	})
	return found
}

// large is what no packet holds.
var large = strings.Repeat("\x00", 2_000_000)

// matrix asks from each pod for each pod, for the Service by its address, and for its
// node port on each node: the Service leads to all.
func matrix(t *testing.T, m *e2e.Machines, pods map[string]corev1.Pod) {
	t.Helper()
	service := strings.TrimSpace(m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	for from, p := range pods {
		client := m.On(from).Pod(string(p.UID))
		for to, other := range pods {
			m.Eventually(30*time.Second, "the pod of "+from+" reaches that of "+to, func() error {
				return reaches(client, "http://"+other.Status.PodIP+":8080/", "on "+to)
			})
			m.Eventually(30*time.Second, "packets of full size come from "+to+" to "+from, func() error {
				return reaches(client, "http://"+other.Status.PodIP+":8080/large", large)
			})
		}
		for _, url := range []string{"http://" + service + "/", "http://" + pods[from].Status.HostIP + ":30080/", "http://" + pods["node-3"].Status.HostIP + ":30080/"} {
			seen := map[string]bool{}
			m.Eventually(30*time.Second, url+" leads from "+from+" to the pods of all nodes", func() error {
				for to := range pods {
					seen[to] = seen[to] || reaches(client, url, "on "+to) == nil
				}
				for to := range pods {
					if !seen[to] {
						return fmt.Errorf("so far %v", seen)
					}
				}
				return nil
			})
		}
	}
}

// resolves waits until a pod gets the Service's address for its name.
func resolves(t *testing.T, m *e2e.Machines, node string, p corev1.Pod, want string) {
	t.Helper()
	resolver := m.On(node).PodResolver(string(p.UID))
	m.Eventually(30*time.Second, "the name of the Service is known on "+node, func() error {
		got, err := resolver.LookupHost(t.Context(), "web.default.svc.cluster.local.")
		if err != nil || len(got) != 1 || got[0] != want {
			return fmt.Errorf("%v, %w; want %s", got, err, want)
		}
		return nil
	})
}

func reaches(from *http.Client, url, want string) error {
	response, err := from.Get(url) //nolint:noctx // it has a timeout
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && strings.TrimSpace(string(body)) != want {
		err = fmt.Errorf("%s: %d bytes: %.100q", url, len(body), body)
	}
	return err
}
