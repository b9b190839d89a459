package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

const helloGateway = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: hello}
spec:
  gatewayClassName: headway
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: other, port: 8888, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, hostname: hello.example.com, tls: {certificateRefs: [{name: hello-tls}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: hello, namespace: hello}
spec:
  parentRefs: [{name: web}]
  hostnames: [hello.example.com]
  rules:
  - backendRefs: [{name: hello, port: 80, weight: 1}, {name: nobody, port: 80, weight: 0}]
`

// A Gateway and a route of Git are served, by HTTP and HTTPS and at a port of their own, and
// rolling updates behind them lose no request; statuses and columns tell of it.
func TestGateway(t *testing.T) {
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	own := newCertificate(t)
	c.KubectlIn(own.secret(), "apply", "-f", "-")
	c.Eventually(time.Minute, "there is a class", func() error {
		if got := c.Kubectl("get", "gatewayclasses"); !strings.Contains(got, "headway   headway.dev/gateway   True") {
			return fmt.Errorf("the classes are %s", got)
		}
		return nil
	})
	c.Clone.Write("gateway.yaml", helloGateway)
	c.Clone.Replace("kustomization.yaml", "resources:\n", "resources:\n  - gateway.yaml\n")
	c.Deployed(c.Clone.Push("Serve hello by a Gateway"))
	readyPods(t, c, 3)
	client := newIngressClient(t, c, own)
	for _, url := range []string{"http://hello.example.com/", "http://hello.example.com:8888/", "https://hello.example.com/"} {
		c.Eventually(time.Minute, "the route is served at "+url, func() error { return client.answers(url, http.StatusOK, "Hello from Git!") })
	}
	if err := client.answers("http://other.example.com/", http.StatusNotFound, ""); err != nil {
		t.Error(err)
	}
	c.Eventually(30*time.Second, "statuses and columns tell of it", func() error {
		fields := strings.Fields(c.Kubectl("get", "gateways", "-n", "hello", "--no-headers"))
		if len(fields) != 5 || fields[1] != "headway" || net.ParseIP(fields[2]) == nil || fields[3] != "True" {
			return fmt.Errorf("the columns are %q", fields)
		}
		if got := c.Kubectl("get", "httproute", "hello", "-n", "hello", "-o", `jsonpath={range .status.parents[0].conditions[*]}{.type}={.status}/{.reason} {end}`); !strings.Contains(got, "Accepted=True/Accepted") || !strings.Contains(got, "ResolvedRefs=False/BackendNotFound") {
			return fmt.Errorf("the route's conditions are %s", got)
		}
		return nil
	})

	load := client.load()
	c.Clone.Replace(baseFile, "Hello from Git!", "Hello again!")
	c.Clone.Replace(deployFile, "web:1.0.0", "web:1.1.0")
	c.Deployed(c.Clone.Push("Greet again"))
	after := readyPods(t, c, 3)
	c.Eventually(time.Minute, "the old pods are gone", func() error { return podsAre(c, after) })
	requests, failures := load.stop()
	if requests < 50 || len(failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", len(failures), requests, failures)
	}

	c.Clone.Replace("gateway.yaml", "{name: hello, port: 80, weight: 1}, {name: nobody, port: 80, weight: 0}", "{name: hello, port: 80, weight: 0}, {name: nobody, port: 80, weight: 1}")
	c.Deployed(c.Clone.Push("Send all to nobody"))
	c.Eventually(30*time.Second, "the weights are changed", func() error {
		return client.answers("http://hello.example.com/", http.StatusInternalServerError, "")
	})
	c.Clone.Git("rm", "-q", "gateway.yaml")
	c.Clone.Replace("kustomization.yaml", "  - gateway.yaml\n", "")
	c.Deployed(c.Clone.Push("Serve nothing"))
	c.Eventually(30*time.Second, "nothing is open", func() error {
		for _, port := range []string{"80", "443", "8888"} {
			if conn, err := dialer(c)(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
				_ = conn.Close()
				return fmt.Errorf("port %s is open", port)
			}
		}
		return nil
	})
}
