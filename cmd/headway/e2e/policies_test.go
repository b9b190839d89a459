package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// teams are the namespaces of the matrix, and apps the pods of each: one on each node,
// and another on node-1.
var (
	teams = []string{"red", "green", "blue"}
	apps  = []string{"a", "b", "c", "d"}
)

// behind is the app of each team that has a Service.
const behind = "b"

// matrixPods are pods that serve their name at the port web.
func matrixPods() string {
	var b strings.Builder
	for _, team := range teams {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {team: %s}}\n", team, team)
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: %[1]s, namespace: %[2]s}\nspec: {selector: {app: %[1]s}, ports: [{port: 80, targetPort: web}]}\n", behind, team)
		for i, app := range apps {
			fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %[2]s, namespace: %[1]s, labels: {app: %[2]s}}
spec:
  nodeName: node-%[3]d
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: "headway.dev/test/busybox:1"
    command: [sh, -c, "mkdir /www; echo %[1]s/%[2]s > /www/index.html; exec httpd -f -p 8080 -h /www"]
    ports: [{name: web, containerPort: 8080}]
    readinessProbe: {httpGet: {port: web}, periodSeconds: 1}
`, team, app, i%3+1)
		}
	}
	return b.String()
}

// who is a pod of the matrix.
type who struct{ team, app string }

func policyText(team, name, spec string) string {
	return fmt.Sprintf("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: %s, namespace: %s}\nspec: %s\n", name, team, spec)
}

// matrixStep is what a commit makes of the policies, and who may reach whom then.
type matrixStep struct {
	what, policies string
	allowed        func(from, to who) bool
}

var matrixSteps = []matrixStep{
	{"no policies", "", func(_, _ who) bool { return true }},
	{
		"default deny, a namespace, and what goes out", policyText("red", "deny", "{podSelector: {}, policyTypes: [Ingress]}") +
			policyText("green", "some", "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}") +
			policyText("blue", "out", "{podSelector: {matchExpressions: [{key: app, operator: In, values: [c, d]}]}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: web}]}]}"),
		func(from, to who) bool {
			in := to.team == "green" && (to.app != "a" || from.team == "blue") || to.team == "blue"
			out := from.team != "blue" || from.app == "a" || from.app == "b" || to.team == "blue"
			return in && out
		},
	},
	{
		"a union, both selectors, other ports", policyText("red", "deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}") +
			policyText("red", "from-green", "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: green}}, podSelector: {matchLabels: {app: c}}}], ports: [{port: 8000, endPort: 8080}]}]}") +
			policyText("red", "from-blue", "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}, {from: [{podSelector: {}}], ports: [{port: 9090}]}]}") +
			policyText("green", "some", "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}, {ports: [{port: 8080, protocol: UDP}]}]}"),
		func(from, to who) bool {
			if from.team == "red" {
				return false
			}
			switch to.team {
			case "red":
				return to.app == "b" && (from.team == "blue" || from == who{"green", "c"})
			case "green":
				return to.app != "a"
			}
			return true
		},
	},
	{"no policies again", "", func(_, _ who) bool { return true }},
}

// Of all pairs of 12 pods in three namespaces and on three machines, of both modes of
// the proxy, those reach each other that policies in Git let, also through Services, while
// headway is killed and after it; nodes and their probes reach all.
func TestPolicies(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t))
	join := m.Token()
	m.Join("node-2", join...)
	m.Join("node-3", append(join, "--proxy-mode", "nftables")...)
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("pods.yaml", matrixPods())
	m.Deployed(m.Clone.Push("the matrix"))
	pods := matrixReady(t, m)
	services := map[string]string{}
	for _, team := range teams {
		services[team] = strings.TrimSpace(m.Kubectl("get", "service", behind, "-n", team, "-o", "jsonpath={.spec.clusterIP}"))
	}

	for i, step := range matrixSteps {
		m.Clone.Write("policies.yaml", step.policies)
		if i > 0 {
			m.Deployed(m.Clone.Push(step.what))
		}
		m.Eventually(time.Minute, step.what, func() error { return judge(t, m, pods, services, step.allowed) })
		matrixReady(t, m) // probes reach them
		if i != 2 {
			continue
		}
		// The rules are the kernel's: they stay when headway dies, and while it starts.
		for _, node := range []string{"node-1", "node-2", "node-3"} {
			m.On(node).Program.Kill()
		}
		if err := judge(t, m, pods, services, step.allowed); err != nil {
			t.Errorf("while headway is dead: %v", err)
		}
		for _, node := range []string{"node-2", "node-3"} {
			m.On(node).Program.Spawn()
		}
		m.Up()
		m.Ready(2*time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
		m.Eventually(time.Minute, "after headway died", func() error { return judge(t, m, pods, services, step.allowed) })
	}

	// Nothing of it stays.
	second := m.On("node-2")
	tables := func() string { return second.Run("", "nft", "list", "tables").Stdout }
	contains(t, "the tables of a node", tables(), "inet headway-policy", "bridge headway-guard")
	second.Program.Stop()
	if r := second.Headway("cleanup", "--yes", "--keep-data"); r.Code != 0 {
		t.Errorf("cleanup: %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	if left := tables(); strings.Contains(left, "headway-policy") || strings.Contains(left, "headway-guard") {
		t.Errorf("cleanup leaves the tables\n%s", left)
	}
}

// matrixReady waits until all pods are ready.
func matrixReady(t *testing.T, m *e2e.Machines) map[who]corev1.Pod {
	t.Helper()
	pods := map[who]corev1.Pod{}
	m.Eventually(2*time.Minute, "the pods of the matrix are ready", func() error {
		clear(pods)
		for _, team := range teams {
			found, err := m.Client().CoreV1().Pods(team).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, p := range found.Items {
				for _, c := range p.Status.Conditions {
					if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
						pods[who{team, p.Name}] = p
					}
				}
			}
		}
		if len(pods) != len(teams)*len(apps) {
			return fmt.Errorf("%d pods are ready", len(pods))
		}
		return nil
	})
	return pods
}

// judge asks from every pod for every pod and Service, and from the nodes for the pods on them.
func judge(t *testing.T, m *e2e.Machines, pods map[who]corev1.Pod, services map[string]string, allowed func(from, to who) bool) error {
	t.Helper()
	var mu sync.Mutex
	var errs []error
	pairs := 0
	var wg sync.WaitGroup
	for from, p := range pods {
		client := m.On(p.Spec.NodeName).Pod(string(p.UID))
		wg.Go(func() {
			ask := func(to who, address string) {
				err := asks(client, address, to)
				got, want := err == nil, from == to || allowed(from, to)
				mu.Lock()
				defer mu.Unlock()
				if pairs++; got != want {
					errs = append(errs, fmt.Errorf("%v reaches %v at %s: %v, want %v (%w)", from, to, address, got, want, errors.Join(err)))
				}
			}
			for to, other := range pods {
				ask(to, other.Status.PodIP+":8080")
			}
			for team, ip := range services {
				ask(who{team, behind}, ip)
			}
			if err := asks(m.On(p.Spec.NodeName).HTTP, p.Status.PodIP+":8080", from); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("the node of %v does not reach it: %w", from, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if pairs < 100 {
		t.Fatalf("%d pairs", pairs)
	}
	return errors.Join(errs...)
}

// asks gives up after a second: policies drop, and answer nothing.
func asks(client *http.Client, address string, name who) error {
	patient := *client
	patient.Timeout = time.Second
	return reaches(&patient, "http://"+address+"/", name.team+"/"+name.app)
}
