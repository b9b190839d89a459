package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// reached is a program that is reached in all ways that there are, and one that tells who
// asks.
const reached = `apiVersion: v1
kind: ConfigMap
metadata: {name: headway-load-balancer, namespace: kube-system}
data: {pool: 10.66.0.240-10.66.0.242}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 6
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 2}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        command: [web]
        env: [{name: MESSAGE, value: Hello}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 3}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: http, nodePort: 30080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: default}
spec:
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: who, namespace: default}
spec:
  selector: {matchLabels: {app: who}}
  template:
    metadata: {labels: {app: who}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: "headway.dev/test/busybox:1"
        command: [sh, -c, 'mkdir -p /www/cgi-bin; printf "#!/bin/sh\necho; echo \$REMOTE_ADDR\n" > /www/cgi-bin/who; chmod +x /www/cgi-bin/who; exec httpd -f -p 8080 -h /www']
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: who, namespace: default}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: who}, ports: [{port: 80, targetPort: 8080}]}
`

// A client outside of the cluster reaches Services at addresses of the pool, node ports and
// Ingresses, pods reach them by the cluster IP, and a rolling update loses none of their
// requests. The address is kept when the server is killed, and moves when its node is gone.
func TestBalancers(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t, "headway.dev/examples/web"), "--node-monitor-grace-period", "15s")
	join := m.Token()
	m.Join("node-2", join...)
	m.Join("node-3", join...)
	client := m.Machine("client")
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	// node-3 is on another network: it cannot answer for the pool's addresses.
	const excluded = "node.kubernetes.io/exclude-from-external-load-balancers"
	m.Kubectl("label", "node", "node-3", excluded+"=")

	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("reached.yaml", reached)
	m.Deployed(m.Clone.Push("a program that is reached in all ways"))
	address := func(service string) string {
		return strings.TrimSpace(m.Kubectl("get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"))
	}
	m.Eventually(time.Minute, "both Services have an address of the pool", func() error {
		if web, who := address("web"), address("who"); !strings.HasPrefix(web, "10.66.0.24") || !strings.HasPrefix(who, "10.66.0.24") || web == who {
			return fmt.Errorf("%q and %q", web, who)
		}
		return nil
	})
	web := address("web")
	contains(t, "get services", m.Kubectl("get", "service", "web"), web, "80:30080/TCP")

	inside := list(t, m, "app=web")[0]
	ways := map[string]struct {
		from *http.Client
		url  string
	}{
		"the load balancer": {client.HTTP, "http://" + web + "/"},
		"a node port":       {client.HTTP, "http://10.67.0.3:30080/"},
		"an Ingress":        {client.HTTP, "http://10.66.0.2/"},
		"the cluster IP":    {m.On(inside.Spec.NodeName).HTTP, "http://" + strings.TrimSpace(m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")) + "/"},
	}
	loads := map[string]*load{}
	for name, way := range ways {
		m.Eventually(30*time.Second, name+" leads to the program", func() error { return answered(way.from, way.url, "Hello") })
		loads[name] = loadFrom(greeted(way.from, way.url))
	}
	m.Clone.Replace("reached.yaml", "value: Hello", "value: Hello again")
	m.Deployed(m.Clone.Push("another greeting"))
	m.Eventually(time.Minute, "the old pods are gone", func() error {
		if pods := list(t, m, "app=web"); len(pods) != 6 {
			return fmt.Errorf("%d pods", len(pods))
		}
		return nil
	})
	for name, load := range loads {
		if sent, failures := load.stop(); sent < 50 || len(failures) > 0 {
			t.Errorf("through %s %d of %d requests failed: %.3v", name, len(failures), sent, failures)
		}
	}

	who := "http://" + address("who") + "/cgi-bin/who"
	m.Eventually(30*time.Second, "with the policy Local the client keeps its address", func() error {
		return reaches(client.HTTP, who, "[::ffff:"+e2e.ClientAddress+"]")
	})

	// The server dies: the address serves on, and stays the Service's.
	m.Program.Kill()
	if err := answered(client.HTTP, ways["the load balancer"].url, "Hello again"); err != nil {
		t.Errorf("while the server is away: %v", err)
	}
	m.Up()
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	if now := address("web"); now != web {
		t.Errorf("the address was %s and is %s", web, now)
	}

	// The address goes to node-2 when node-1 must not have it, and back when node-2 is gone.
	by := func(want string) {
		t.Helper()
		m.Eventually(90*time.Second, "the address is at "+want, func() error {
			service, err := m.Client().CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got := service.Annotations["headway.dev/announced-by"]; got != want {
				return fmt.Errorf("it is at %q", got)
			}
			return answered(client.HTTP, ways["the load balancer"].url, "Hello again")
		})
	}
	m.Kubectl("label", "node", "node-1", excluded+"=")
	by("node-2")
	m.Kubectl("label", "node", "node-1", excluded+"-")
	m.Cut("node-2", true)
	by("node-1")
	m.Cut("node-2", false)
	m.Ready(2*time.Minute, corev1.ConditionTrue, "node-2")
	if err := answered(client.HTTP, ways["the load balancer"].url, "Hello again"); err != nil {
		t.Errorf("after the node is back: %v", err)
	}
}
