package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// families are Services of the same pods that want what there is of families.
const families = `apiVersion: v1
kind: Service
metadata: {name: prefer, namespace: default}
spec: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6, IPv4], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: six, namespace: default}
spec: {ipFamilies: [IPv6], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: pods, namespace: default}
spec: {clusterIP: None, ipFamilyPolicy: PreferDualStack, selector: {app: web}, ports: [{port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: default}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: four, namespace: default}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

// isolated6 lets all reach the pods but one address of IPv6.
const isolated6 = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: six, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{ipBlock: {cidr: 0.0.0.0/0}}, {ipBlock: {cidr: "::/0", except: ["%s/128"]}}]
`

// Pods of a cluster of both families have addresses of both, and reach each other, Services
// and the outside by IPv6: on the same network by the nodes' IPv6 addresses, and behind a
// router, which knows nothing of IPv6, through the tunnel.
func TestDualStack(t *testing.T) {
	t.Parallel()
	m := e2e.StartMachines(t, e2e.BusyboxImages(t), "--cluster-cidr", "10.42.0.0/16,fd00:42::/48", "--service-cidr", "10.43.0.0/16,fd00:43::/108")
	join := m.Token()
	m.Join("node-2", join...)
	m.Join("node-3", join...)
	client := m.Machine("client")
	m.Ready(time.Minute, corev1.ConditionTrue, "node-1", "node-2", "node-3")
	var ranges []string
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		node, err := m.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(node.Spec.PodCIDRs) != 2 || node.Spec.PodCIDR != node.Spec.PodCIDRs[0] {
			t.Fatalf("podCIDRs of %s = %v, want two", name, node.Spec.PodCIDRs)
		}
		ranges = append(ranges, node.Spec.PodCIDRs[1])
	}
	slices.Sort(ranges)
	if want := []string{"fd00:42:0:1::/64", "fd00:42:0:2::/64", "fd00:42::/64"}; !slices.Equal(ranges, want) {
		t.Errorf("ranges of IPv6 = %v, want %v", ranges, want)
	}

	m.Clone.Git("rm", "-r", "-q", "apps", "kustomization.yaml")
	m.Clone.Write("everywhere.yaml", strings.NewReplacer(
		"{type: NodePort,", "{type: NodePort, ipFamilyPolicy: RequireDualStack,",
		"env: [", "ports: [{containerPort: 8080, hostPort: 28080}]\n        env: [{name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}, ",
	).Replace(everywhere))
	m.Clone.Write("families.yaml", families)
	m.Deployed(m.Clone.Push("a pod on each node"))
	pods := podsByNode(t, m, 3)
	six := map[string]string{}
	for node, p := range pods {
		if len(p.Status.PodIPs) != 2 || len(p.Status.HostIPs) != 2 || p.Status.HostIPs[1].IP != e2e.SixthAddress(node) {
			t.Fatalf("the pod of %s has %v on %v, want two of each", node, p.Status.PodIPs, p.Status.HostIPs)
		}
		six[node] = p.Status.PodIPs[1].IP
		contains(t, "the downward API", m.Kubectl("exec", p.Name, "--", "sh", "-c", "echo $IPS"), p.Status.PodIPs[0].IP+","+six[node])
		contains(t, "hosts", m.Kubectl("exec", p.Name, "--", "cat", "/etc/hosts"), six[node])
	}
	service, err := m.Client().CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || len(service.Spec.ClusterIPs) != 2 {
		t.Fatalf("Service = %v, %v; want two addresses", service.Spec.ClusterIPs, err)
	}
	familiesSettled(t, m)
	for from, p := range pods {
		client := m.On(from).Pod(string(p.UID))
		for to, ip := range six {
			m.Eventually(30*time.Second, "the pod of "+from+" reaches that of "+to+" by IPv6", func() error {
				return reaches(client, "http://["+ip+"]:8080/", "on "+to)
			})
			m.Eventually(30*time.Second, "packets of full size come from "+to+" to "+from, func() error {
				return reaches(client, "http://["+ip+"]:8080/large", large)
			})
		}
		for _, url := range []string{"http://[" + service.Spec.ClusterIPs[1] + "]/", "http://[" + e2e.SixthAddress(from) + "]:30080/", "http://" + service.Spec.ClusterIPs[0] + "/"} {
			seen := map[string]bool{}
			m.Eventually(time.Minute, url+" leads from "+from+" to the pods of all nodes", func() error {
				for to := range pods {
					seen[to] = seen[to] || reaches(client, url, "on "+to) == nil
				}
				if len(seen) != 3 || !seen["node-1"] || !seen["node-2"] || !seen["node-3"] {
					return fmt.Errorf("so far %v", seen)
				}
				return nil
			})
		}
		resolver := m.On(from).PodResolver(string(p.UID))
		m.Eventually(30*time.Second, "the name of the Service has both addresses on "+from, func() error {
			got, err := resolver.LookupNetIP(t.Context(), "ip6", "web.default.svc.cluster.local.")
			if want := netip.MustParseAddr(service.Spec.ClusterIPs[1]); err != nil || len(got) != 1 || got[0] != want {
				return fmt.Errorf("%v, %w; want %s", got, err, want)
			}
			name, err := resolver.LookupAddr(t.Context(), service.Spec.ClusterIPs[1])
			if err != nil || len(name) != 1 || name[0] != "web.default.svc.cluster.local." {
				return fmt.Errorf("the name of the address is %v, %w", name, err)
			}
			return nil
		})
	}

	familiesNamed(t, m, pods)
	outside(t, m, client, pods)

	// A policy for addresses of IPv6 holds on the way between nodes, and from the node itself not.
	m.Clone.Write("policy.yaml", fmt.Sprintf(isolated6, six["node-2"]))
	m.Deployed(m.Clone.Push("not from the pod of node-2"))
	for _, to := range []string{"node-1", "node-3"} {
		for from, p := range pods {
			if from == to {
				continue
			}
			client := m.On(from).Pod(string(p.UID))
			m.Eventually(30*time.Second, "the policy holds from "+from+" to "+to, func() error {
				err := reaches(client, "http://["+six[to]+"]:8080/", "on "+to)
				if (err == nil) != (from != "node-2") {
					return fmt.Errorf("%s reaches %s: %w", from, to, err)
				}
				return reaches(client, "http://"+pods[to].Status.PodIP+":8080/", "on "+to)
			})
		}
	}

	// A Service that becomes SingleStack gives its second address, and the slice of it, back.
	m.Clone.Replace("everywhere.yaml", "RequireDualStack", "SingleStack")
	m.Deployed(m.Clone.Push("one family"))
	m.Eventually(30*time.Second, "the Service has one family", func() error {
		service, err := m.Client().CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || len(service.Spec.ClusterIPs) != 1 || len(service.Spec.IPFamilies) != 1 {
			return fmt.Errorf("%v of %v, %w", service.Spec.ClusterIPs, service.Spec.IPFamilies, err)
		}
		slices, err := m.Client().DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil || len(slices.Items) != 1 || slices.Items[0].AddressType != "IPv4" {
			return fmt.Errorf("%d slices, %w", len(slices.Items), err)
		}
		return nil
	})
}

// familiesSettled looks whether each of families has the families that Kubernetes gives it.
func familiesSettled(t *testing.T, m *e2e.Machines) {
	t.Helper()
	for name, want := range map[string]string{
		"prefer": "PreferDualStack IPv6 IPv4", "six": "SingleStack IPv6", "pods": "PreferDualStack IPv4 IPv6",
		"elsewhere": "RequireDualStack IPv4 IPv6", "four": "SingleStack IPv4",
	} {
		got := m.Kubectl("get", "service", name, "-o", "jsonpath={.spec.ipFamilyPolicy} {.spec.ipFamilies[*]}")
		if strings.TrimSpace(got) != want {
			t.Errorf("Service %s has %q, want %q", name, got, want)
		}
	}
	for _, wrong := range []struct{ patch, why string }{
		{`{"spec":{"ipFamilies":["IPv6"],"ipFamilyPolicy":"SingleStack"}}`, "spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set"},
		{`{"spec":{"ipFamilies":["IPv4","IPv6"]}}`, "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
	} {
		if r := m.Run("", "kubectl", "patch", "service", "four", "-p", wrong.patch); r.Code == 0 || !strings.Contains(r.Stderr, wrong.why) {
			t.Errorf("patch %s: %d, want %s:\n%s%s", wrong.patch, r.Code, wrong.why, r.Stdout, r.Stderr)
		}
	}
}

// familiesNamed looks from each node whether names have the addresses of both families, and those
// of one have none of the other, and whether Services of IPv6 first, and of it alone, serve.
func familiesNamed(t *testing.T, m *e2e.Machines, pods map[string]corev1.Pod) {
	t.Helper()
	addresses := map[string][]string{"ip4": nil, "ip6": nil}
	for _, p := range pods {
		addresses["ip4"], addresses["ip6"] = append(addresses["ip4"], p.Status.PodIPs[0].IP), append(addresses["ip6"], p.Status.PodIPs[1].IP)
	}
	of := func(name string, index int) []string {
		return strings.Fields(m.Kubectl("get", "service", name, "-o", fmt.Sprintf("jsonpath={.spec.clusterIPs[%d]}", index)))
	}
	want := map[string]map[string][]string{
		"pods": addresses, "prefer": {"ip6": of("prefer", 0), "ip4": of("prefer", 1)}, "six": {"ip6": of("six", 0)}, "four": {"ip4": of("four", 0)},
	}
	for from, p := range pods {
		resolver, client := m.On(from).PodResolver(string(p.UID)), m.On(from).Pod(string(p.UID))
		for name, byFamily := range want {
			for _, family := range []string{"ip4", "ip6"} {
				m.Eventually(30*time.Second, name+" has its addresses of "+family+" on "+from, func() error {
					found, err := resolver.LookupNetIP(t.Context(), family, name+".default.svc.cluster.local.")
					var got []string
					for _, ip := range found {
						got = append(got, ip.Unmap().String())
					}
					slices.Sort(got)
					if all := slices.Sorted(slices.Values(byFamily[family])); !slices.Equal(got, all) || (err == nil) != (len(all) > 0) {
						return fmt.Errorf("%v, %w; want %v", got, err, all)
					}
					return nil
				})
			}
		}
		for _, ip := range []string{want["prefer"]["ip6"][0], want["six"]["ip6"][0]} {
			m.Eventually(30*time.Second, ip+" serves on "+from, func() error {
				if reaches(client, "http://["+ip+"]/", "on node-1") == nil {
					return nil
				}
				return reaches(client, "http://["+ip+"]/", "on node-2")
			})
		}
	}
}

// outside is about a machine that is no node: it reaches node ports and host ports by IPv6,
// and pods reach it, by their node's address.
func outside(t *testing.T, m *e2e.Machines, client *e2e.Cluster, pods map[string]corev1.Pod) {
	t.Helper()
	for _, node := range []string{"node-1", "node-2"} { // node-3 is behind the router, which has no IPv6
		at := "http://[" + e2e.SixthAddress(node) + "]"
		m.Eventually(30*time.Second, "the host port of "+node+" is open by IPv6", func() error {
			return reaches(client.HTTP, at+":28080/", "on "+node)
		})
		m.Eventually(30*time.Second, "the node port of "+node+" is open by IPv6", func() error {
			var err error
			for _, to := range []string{"node-1", "node-2", "node-3"} {
				if err = reaches(client.HTTP, at+":30080/", "on "+to); err == nil {
					return nil
				}
			}
			return err
		})
	}
	m.Eventually(30*time.Second, "the host port of node-3 is open by IPv6 on itself", func() error {
		return reaches(m.On("node-3").HTTP, "http://["+e2e.SixthAddress("node-3")+"]:28080/", "on node-3")
	})

	listener := client.Here().Listen("[::]:9000")
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprint(w, "you are "+host)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends with ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	for _, node := range []string{"node-1", "node-2"} {
		m.Eventually(30*time.Second, "the pod of "+node+" reaches the outside by its node's IPv6 address", func() error {
			p := pods[node]
			return reaches(m.On(node).Pod(string(p.UID)), "http://["+e2e.SixthAddress("client")+"]:9000/", "you are "+e2e.SixthAddress(node))
		})
	}
}
