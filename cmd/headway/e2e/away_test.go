package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/cmd/headway/e2e"
)

// entrance leads to the pods of everywhere from outside.
const entrance = `---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: headway}
spec: {controller: headway.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: default}
spec:
  ingressClassName: headway
  defaultBackend: {service: {name: web, port: {number: 80}}}
`

// An agent that is killed, and starts while the server is away, serves names, Services
// and Ingresses as it knew them, also if the machine has none of its rules and addresses
// any more, as after a reboot. When the server is back, what it says holds.
func TestServerAway(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t))
	second := m.Join("node-2", m.Token()...)
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2")
	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("everywhere.yaml", everywhere+entrance)
	m.Deployed(m.Clone.Push("a pod on each node"))
	p := podsByNode(t, m, 2)["node-2"]
	service := strings.TrimSpace(m.Kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"))
	served := func(when string) {
		t.Helper()
		resolves(t, m, "node-2", p, service)
		for _, url := range []string{"http://" + service + "/", "http://" + p.Status.HostIP + ":30080/"} {
			m.Eventually(30*time.Second, when+": "+url+" is served", func() error { return reaches(second.Pod(string(p.UID)), url, "on node-2") })
		}
		m.Eventually(30*time.Second, when+": the Ingress is served", func() error { return reaches(second.HTTP, "http://"+p.Status.HostIP+"/", "on node-2") })
	}
	served("with the server")
	second.Eventually(time.Minute, "the agent has kept what there is now", func() error {
		data, err := os.ReadFile(filepath.Join(second.DataDir, "network", "known.db"))
		if err != nil {
			return err
		}
		now := m.Kubectl("get", "services,endpointslices,ingresses", "-o", `jsonpath={range .items[*]}{.metadata.uid} {.metadata.resourceVersion}{"\n"}{end}`)
		for line := range strings.Lines(now) {
			// As protobuf has it: field 5, the uid, and field 6, the version.
			uid, version, _ := strings.Cut(strings.TrimSpace(line), " ")
			if !bytes.Contains(data, fmt.Appendf(nil, "*%c%s2%c%s", len(uid), uid, len(version), version)) {
				return fmt.Errorf("%s of version %s is not in it", uid, version)
			}
		}
		return nil
	})

	m.Program.Kill()
	second.Program.Kill()
	for _, undo := range [][]string{{"iptables", "-w", "-t", "nat", "-F"}, {"iptables", "-w", "-t", "nat", "-X"}, {"ip", "link", "delete", "headway-dns"}} {
		if r := second.Run("", undo...); r.Code != 0 {
			t.Fatalf("%v: %s", undo, r.Stderr)
		}
	}
	second.Program.Spawn()
	served("while the server is away")

	// What Git says meanwhile is known once the server is back.
	m.Clone.Write("everywhere.yaml", strings.Replace(strings.Replace(everywhere, "kind: Service\nmetadata: {name: web", "kind: Service\nmetadata: {name: next", 1), "30080", "30081", 1))
	commit := m.Clone.Push("another Service in its place")
	m.Up()
	m.Deployed(commit)
	resolver := second.PodResolver(string(p.UID))
	m.Eventually(time.Minute, "the names are those of now", func() error {
		if got, err := resolver.LookupHost(t.Context(), "next.default.svc.cluster.local."); err != nil || len(got) != 1 {
			return fmt.Errorf("%v, %w", got, err)
		}
		return gone(t.Context(), resolver, "web.default.svc.cluster.local.")
	})
	m.Eventually(time.Minute, "the new Service is served", func() error {
		return reaches(second.Pod(string(p.UID)), "http://"+p.Status.HostIP+":30081/", "on node-2")
	})
	for _, url := range []string{"http://" + service + "/", "http://" + p.Status.HostIP + ":30080/"} {
		m.Eventually(time.Minute, url+" is not served any more", func() error {
			if err := reaches(second.Pod(string(p.UID)), url, "on node-2"); err == nil {
				return errors.New("it is")
			}
			return nil
		})
	}
	if now := podsByNode(t, m, 2)["node-2"]; now.UID != p.UID || now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod is not the one that ran, or was restarted: %+v", now.Status.ContainerStatuses)
	}
}

// gone is an error unless nothing has a name.
func gone(ctx context.Context, resolver *net.Resolver, name string) error {
	got, err := resolver.LookupHost(ctx, name)
	if missing := new(net.DNSError); errors.As(err, &missing) && missing.IsNotFound {
		return nil
	}
	return fmt.Errorf("%s: %v, %w", name, got, err)
}
