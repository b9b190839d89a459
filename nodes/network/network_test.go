package network_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"headway.dev/nodes/network"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

func podIP(t *testing.T, n *nodetest.Node, uid string) string {
	t.Helper()
	p, err := n.Get(t.Context(), uid)
	if err != nil || p.Sandbox == nil || len(p.Sandbox.IPs) != 1 {
		t.Fatalf("pod %s = %+v, %v; want one address", uid, p, err)
	}
	return p.Sandbox.IPs[0]
}

// execGet asks url from inside a pod.
func execGet(t *testing.T, n *nodetest.Node, c runtime.Container, url string) string {
	t.Helper()
	var out strings.Builder
	code, err := n.Exec(t.Context(), c.ID, runtime.ExecOptions{Command: []string{"/tool", "get", url}, Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		t.Errorf("get %s in the pod = %d, %v, %s", url, code, err, out.String())
	}
	return out.String()
}

func TestPodsReachEachOtherAndTheNode(t *testing.T) {
	n := nodetest.Start(t)
	web, asker := nodetest.Sandbox("web"), nodetest.Sandbox("asker")
	n.Run(t, web, "main", "serve")
	c := n.Run(t, asker, "main", "sleep")
	ip, own := podIP(t, n, web.UID), podIP(t, n, asker.UID)
	nodetest.Get(t, "http://"+ip+":8080/")
	if got := execGet(t, n, c, "http://"+ip+":8080/"); !strings.HasPrefix(got, "hello "+own+":") {
		t.Errorf("the pod saw its neighbour as %q, want address %s", got, own)
	}
	if got := execGet(t, n, c, "http://"+ip+":8080/healthz"); got != "ok\n" {
		t.Errorf("answer = %q", got)
	}

	// The link is what it should be.
	bridge, err := netlink.LinkByName(n.NetConf.Bridge)
	if err != nil {
		t.Fatal(err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	ports := 0
	for _, l := range links {
		if l.Attrs().MasterIndex != bridge.Attrs().Index {
			continue
		}
		ports++
		if l.Attrs().MTU != bridge.Attrs().MTU {
			t.Errorf("MTU of %s = %d, want the bridge's %d", l.Attrs().Name, l.Attrs().MTU, bridge.Attrs().MTU)
		}
		info, err := netlink.LinkGetProtinfo(l)
		if err != nil || !info.Hairpin {
			t.Errorf("port %s: hairpin %v, %v; want on", l.Attrs().Name, info.Hairpin, err)
		}
	}
	if ports != 2 {
		t.Errorf("bridge has %d ports, want 2", ports)
	}
}

func TestHostPorts(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("hostport")
	pod.HostPorts = []runtime.HostPort{{Protocol: "TCP", HostPort: 28081, ContainerPort: 8080}}
	n.Run(t, pod, "main", "serve")
	gateway := n.NetConf.PodCIDR.Addr().Next().String()
	for _, host := range []string{"127.0.0.1", gateway} {
		if got := nodetest.Get(t, "http://"+host+":28081/hostname"); got != "hostport\n" {
			t.Errorf("host port on %s = %q", host, got)
		}
	}
	if err := n.RemoveSandbox(t.Context(), pod.PodRef); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Second}
	if resp, err := client.Do(nodetest.Request(t, "http://127.0.0.1:28081/")); err == nil {
		resp.Body.Close()
		t.Error("the host port answers after its pod is gone")
	}
}

// TestDetachIsRepeated: a removal that fails in the midst can be tried again,
// and leaves no lease then.
func TestDetachIsRepeated(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("exposed")
	pod.HostPorts = []runtime.HostPort{{Protocol: "TCP", HostPort: 28082, ContainerPort: 8080}}
	if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir()) // without iptables
	if err := n.Net.Detach(t.Context(), pod.UID); err == nil {
		t.Fatal("Detach without iptables reports no error")
	}
	t.Setenv("PATH", path)
	if err := n.Net.Detach(t.Context(), pod.UID); err != nil {
		t.Fatal(err)
	}
	if leases, err := os.ReadDir(n.NetConf.StateDir); err != nil || len(leases) > 0 {
		t.Errorf("leases after Detach = %v, %v; want none", leases, err)
	}
}

func TestHostNetwork(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("onhost")
	pod.HostNetwork = true
	n.Run(t, pod, "main", "serve", "127.0.0.1:28082")
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil || len(p.Sandbox.IPs) != 0 {
		t.Errorf("sandbox = %+v, %v; want no addresses of its own", p.Sandbox, err)
	}
	nodetest.Get(t, "http://127.0.0.1:28082/")
}

// A pod's packet that leaves the cluster carries the node's address: a second
// network namespace plays the outside, which knows no way to the pods.
func TestTrafficLeavesWithTheNodesAddress(t *testing.T) {
	n := nodetest.Start(t)
	outside := nodetest.Start(t) // its pods are outside of n's cluster
	server := nodetest.Sandbox("outside")
	outside.Run(t, server, "main", "serve")
	ip := podIP(t, outside, server.UID)
	nodetest.Get(t, "http://"+ip+":8080/")
	c := n.Run(t, nodetest.Sandbox("asker"), "main", "sleep")
	gateway := outside.NetConf.PodCIDR.Addr().Next().String()
	if got := execGet(t, n, c, "http://"+ip+":8080/"); !strings.HasPrefix(got, "hello "+gateway+":") {
		t.Errorf("the outside saw the pod as %q, want the node's address %s", got, gateway)
	}
}

func TestPodCIDRComesLater(t *testing.T) {
	n := nodetest.Names(t)
	cidr := n.NetConf.PodCIDR
	n.NetConf.PodCIDR = netip.Prefix{}
	n.Restart(t)
	pod := nodetest.Sandbox("early")
	if _, err := n.EnsureSandbox(t.Context(), pod); !errors.Is(err, network.ErrNoPodCIDR) {
		t.Errorf("EnsureSandbox = %v, want ErrNoPodCIDR", err)
	}
	if p, _ := n.Get(t.Context(), pod.UID); p.Sandbox != nil {
		t.Errorf("a failed sandbox is listed: %+v", p.Sandbox)
	}
	if err := n.Net.SetPodCIDR(cidr); err != nil {
		t.Fatal(err)
	}
	box, err := n.EnsureSandbox(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if !cidr.Contains(netip.MustParseAddr(box.IPs[0])) {
		t.Errorf("address = %s, want one of %s", box.IPs[0], cidr)
	}
	if err := n.Net.SetPodCIDR(netip.MustParsePrefix("10.99.0.0/24")); err == nil {
		t.Error("another podCIDR was accepted while a pod has an address")
	}
}

func TestAddressesSurviveRestartsAndAreReusedLate(t *testing.T) {
	n := nodetest.Names(t)
	n.Restart(t)
	seen := map[string]string{}
	add := func(name string) string {
		t.Helper()
		box, err := n.EnsureSandbox(t.Context(), nodetest.Sandbox(name))
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[box.IPs[0]]; taken {
			t.Errorf("%s got the address of %s", name, other)
		}
		seen[box.IPs[0]] = name
		return box.IPs[0]
	}
	for i := range 3 {
		add(fmt.Sprintf("before%d", i))
	}
	n.Restart(t)
	freed := add("goes")
	if err := n.RemoveSandbox(t.Context(), nodetest.Sandbox("goes").PodRef); err != nil {
		t.Fatal(err)
	}
	if got := add("next"); got == freed {
		t.Errorf("%s was given again at once", got)
	}
}

// The bridge can be taken away under a running agent; the next pod needs one.
func TestBridgeIsMadeAgain(t *testing.T) {
	n := nodetest.Start(t)
	n.Run(t, nodetest.Sandbox("one"), "main", "sleep")
	if out, err := exec.CommandContext(t.Context(), "ip", "link", "del", n.NetConf.Bridge).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	two := nodetest.Sandbox("two")
	n.Run(t, two, "main", "serve")
	nodetest.Get(t, "http://"+podIP(t, n, two.UID)+":8080/")
}

func TestConfigIsChecked(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]network.Config{
		"long bridge": {Bridge: "a-name-that-is-too-long", StateDir: dir},
		"no bridge":   {StateDir: dir},
		"long chains": {Bridge: "b", Chains: "MUCH-TOO-LONG-A-PREFIX", StateDir: dir},
		"no state":    {Bridge: "b"},
		"IPv6":        {Bridge: "b", StateDir: dir, PodCIDR: netip.MustParsePrefix("fd00::/64")},
		"too small":   {Bridge: "b", StateDir: dir, PodCIDR: netip.MustParsePrefix("10.0.0.0/31")},
	} {
		if _, err := network.New(cfg, nodetest.Logger(t)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
