package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const named = `apiVersion: v1
kind: Service
metadata: {name: db, namespace: default}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: default}
spec:
  selector: {app: db}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: default}
spec: {type: ExternalName, externalName: front.default.svc.cluster.local}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: headway.dev/test/busybox:1
          command: [sh, -c, "mkdir /tmp/www && hostname > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
`

const client = `---
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: default}
spec:
  hostname: client
  subdomain: db
  setHostnameAsFQDN: true
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "3600"]}]
`

// Pods find each other by the names of their Services, of their StatefulSet and of what
// an external name leads to, in the pods' network and in the node's; the names follow what
// there is, and a restart of headway.
func TestNames(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t, "headway.dev/nodes/nodetest/tool"))
	c.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	c.Clone.Write("named.yaml", named)
	c.Clone.Write("clients.yaml", strings.ReplaceAll(client, "NAME", "client")+
		strings.ReplaceAll(client, "NAME", "on-node")+"  hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet\n")
	c.Deployed(c.Clone.Push("pods with names"))

	in := func(pod string, args ...string) e2e.Result {
		return c.Run("", append([]string{"kubectl", "exec", pod, "--"}, args...)...)
	}
	// reaches waits until the pod gets an answer from a host.
	reaches := func(pod, host string, want ...string) {
		t.Helper()
		c.Eventually(time.Minute, pod+" reaches "+host, func() error {
			r := in(pod, "tool", "get", "http://"+host+"/")
			for _, w := range want {
				if r.Code == 0 && strings.TrimSpace(r.Stdout) == w {
					return nil
				}
			}
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		})
	}
	looks := func(what string, want string, args ...string) {
		t.Helper()
		c.Eventually(time.Minute, what, func() error {
			r := in("client", append([]string{"nslookup"}, args...)...)
			if !strings.Contains(r.Stdout+r.Stderr, want) {
				return fmt.Errorf("%q lacks %q", r.Stdout+r.Stderr, want)
			}
			return nil
		})
	}
	for _, pod := range []string{"client", "on-node"} {
		reaches(pod, "db-0.db:8080", "db-0")
		reaches(pod, "db-1.db.default:8080", "db-1")
		reaches(pod, "front", "db-0", "db-1")
		reaches(pod, "front.default.svc.cluster.local", "db-0", "db-1")
		reaches(pod, "elsewhere", "db-0", "db-1")
	}
	contains(t, "hostname", in("client", "hostname").Stdout, "client.db.default.svc.cluster.local")
	contains(t, "resolv.conf", in("client", "cat", "/etc/resolv.conf").Stdout, "search default.svc.cluster.local svc.cluster.local cluster.local", "nameserver 169.254.53.53\n", "options ndots:5\n")
	looks("the ports of db", "db-1.db.default.svc.cluster.local", "-type=srv", "_http._tcp.db.default.svc.cluster.local")
	ip := c.Kubectl("get", "service", "front", "-o", "jsonpath={.spec.clusterIP}")
	looks("the name of an address", "name = front.default.svc.cluster.local", ip)
	looks("what is not there", "NXDOMAIN", "gone.default.svc.cluster.local")

	c.Clone.Replace("named.yaml", "replicas: 2", "replicas: 3")
	c.Clone.Push("one more")
	reaches("client", "db-2.db:8080", "db-2")
	c.Clone.Replace("named.yaml", "replicas: 3", "replicas: 1")
	c.Clone.Push("two fewer")
	looks("a pod that is gone", "NXDOMAIN", "db-1.db.default.svc.cluster.local")

	contains(t, "metrics", c.Kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/metrics"), `headway_dns_queries_total{rcode="NXDOMAIN",source="cluster"}`)
	c.Program.Kill()
	c.Up()
	reaches("client", "db-0.db:8080", "db-0")
}
