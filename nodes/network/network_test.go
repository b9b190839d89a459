package network_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"headway.dev/nodes/network"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// impatient is a client that gives up after a second. So does its dialer: net/http
// goes on with a dial that nobody waits for any more.
func impatient() *http.Client {
	dialer := &net.Dialer{Timeout: time.Second}
	return &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
}

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
	if resp, err := impatient().Do(nodetest.Request(t, "http://127.0.0.1:28081/")); err == nil {
		resp.Body.Close()
		t.Error("the host port answers after its pod is gone")
	}
}

// TestHostPortOfTheNode: what a program of the node listens on is not a pod's
// to take, whether the pod comes later or was there before.
func TestHostPortOfTheNode(t *testing.T) {
	n := nodetest.Start(t)
	serve := func(address string) (port int32, stop func()) {
		t.Helper()
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the node's own") })}
		go func() { _ = server.Serve(listener) }()
		stop = func() { _ = server.Close() }
		t.Cleanup(stop)
		return int32(listener.Addr().(*net.TCPAddr).Port), stop
	}
	port, _ := serve("127.0.0.1:0")
	packets, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	for _, taken := range []runtime.HostPort{
		{HostPort: port, ContainerPort: 8080},
		{HostPort: port, ContainerPort: 8080, HostIP: "127.0.0.1"},
		{HostPort: port, ContainerPort: 8080, HostIP: "0.0.0.0", Protocol: "TCP"},
		{HostPort: int32(packets.LocalAddr().(*net.UDPAddr).Port), ContainerPort: 8080, Protocol: "UDP"},
	} {
		pod := nodetest.Sandbox("thief")
		pod.HostPorts = []runtime.HostPort{taken}
		want := fmt.Sprintf("host port %d ", taken.HostPort)
		if _, err := n.EnsureSandbox(t.Context(), pod); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "is used by a program of the node") {
			t.Errorf("a pod with %+v: %v, want that %s is used", taken, err, want)
		}
	}
	// An address of the other family opens no port at all addresses of this one.
	for _, address := range []string{"::1", "::ffff:127.0.0.1", "::"} {
		pod := nodetest.Sandbox("other-family")
		pod.HostPorts = []runtime.HostPort{{HostPort: 28086, ContainerPort: 8080, HostIP: address}}
		if _, err := n.EnsureSandbox(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "host port 28086 at "+address+": host ports are opened at IPv4 addresses only") {
			t.Errorf("a host port at %s: %v", address, err)
		}
	}
	if leases, err := os.ReadDir(n.NetConf.StateDir); err != nil || len(leases) > 0 {
		t.Errorf("leases of refused pods = %v, %v; want none", leases, err)
	}

	// An address that nobody listens on is free, and so is the other protocol.
	first, later := nodetest.Sandbox("first"), nodetest.Sandbox("later")
	first.HostPorts = []runtime.HostPort{{HostPort: port, ContainerPort: 8080, HostIP: "127.0.0.2"}, {HostPort: port, ContainerPort: 8080, Protocol: "UDP"}, {HostPort: 28083, ContainerPort: 8080}}
	n.Run(t, first, "main", "serve")
	if got := nodetest.Get(t, fmt.Sprintf("http://127.0.0.2:%d/hostname", port)); got != "first\n" {
		t.Errorf("the pod's own address answers %q", got)
	}
	if got := nodetest.Get(t, fmt.Sprintf("http://127.0.0.1:%d/", port)); got != "the node's own" {
		t.Errorf("the node's own port answers %q", got)
	}

	// A program that comes to listen where a pod is has its port back with the
	// next change, and the pod when that program has gone.
	get := func() string { return nodetest.Get(t, "http://127.0.0.1:28083/hostname") }
	if got := get(); got != "first\n" {
		t.Errorf("the host port answers %q", got)
	}
	_, stop := serve("127.0.0.1:28083")
	later.HostPorts = []runtime.HostPort{{HostPort: 28084, ContainerPort: 8080}}
	n.Run(t, later, "main", "serve")
	if got := get(); got != "the node's own" {
		t.Errorf("the port that a program listens on answers %q", got)
	}
	stop()
	if err := n.RemoveSandbox(t.Context(), later.PodRef); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != "first\n" {
		t.Errorf("the host port answers %q after the program has ended", got)
	}
}

// TestOneProgramForHostPorts: a pod with a host port costs one program run.
func TestOneProgramForHostPorts(t *testing.T) {
	n := nodetest.Start(t)
	n.Run(t, nodetest.Sandbox("before"), "main", "sleep") // sets the node up
	dir := t.TempDir()
	for _, name := range []string{"iptables", "iptables-restore", "iptables-save"} {
		real, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/sh\necho %s >> %s/calls\nexec %s \"$@\"\n", name, dir, real)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	pod := nodetest.Sandbox("port")
	pod.HostPorts = []runtime.HostPort{{HostPort: 28085, ContainerPort: 8080}}
	if _, err := n.EnsureSandbox(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if calls, err := os.ReadFile(filepath.Join(dir, "calls")); err != nil || string(calls) != "iptables-restore\n" {
		t.Errorf("programs run = %q, %v; want iptables-restore once", calls, err)
	}
}

// TestNetworkHeals: whoever takes links or rules away, running pods have them
// back without anybody asking.
func TestNetworkHeals(t *testing.T) {
	n := nodetest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Net.Run(ctx) }()
	defer func() { cancel(); <-done }()
	pod := nodetest.Sandbox("web")
	pod.HostPorts = []runtime.HostPort{{HostPort: 28086, ContainerPort: 8080}}
	n.Run(t, pod, "main", "serve")
	inside := "http://" + podIP(t, n, pod.UID) + ":8080/hostname"
	veth := func() string {
		t.Helper()
		bridge, err := netlink.LinkByName(n.NetConf.Bridge)
		if err != nil {
			t.Fatal(err)
		}
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Attrs().MasterIndex == bridge.Attrs().Index {
				return l.Attrs().Name
			}
		}
		t.Fatal("the bridge has no link")
		return ""
	}
	for _, harm := range [][]string{
		{"ip", "link", "del", n.NetConf.Bridge},
		{"ip", "link", "del", veth()},
		{"ip", "link", "set", veth(), "nomaster"},
		{"ip", "link", "set", n.NetConf.Bridge, "down"},
		{"iptables", "-w", "-t", "nat", "-F", n.NetConf.Chains + "-HOSTPORTS"},
		{"iptables", "-w", "-t", "nat", "-D", "OUTPUT", "-m", "addrtype", "--dst-type", "LOCAL", "-j", n.NetConf.Chains + "-HOSTPORTS"},
	} {
		if out, err := exec.CommandContext(t.Context(), harm[0], harm[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", harm, err, out)
		}
		for _, url := range []string{inside, "http://127.0.0.1:28086/hostname"} {
			client := impatient()
			nodetest.Eventually(t, 40*time.Second, func() string {
				resp, err := client.Do(nodetest.Request(t, url))
				if err != nil {
					return fmt.Sprintf("after %v: %v", harm, err)
				}
				resp.Body.Close()
				return ""
			})
		}
	}
}

// TestNetworkOfAnotherCluster: two clusters do not share a bridge. The second
// is told whose it is, until that one's data are gone.
func TestNetworkOfAnotherCluster(t *testing.T) {
	n := nodetest.Names(t)
	owner := filepath.Join(t.TempDir(), "first")
	if err := os.Mkdir(owner, 0o700); err != nil {
		t.Fatal(err)
	}
	n.NetConf.Owner = owner
	n.Restart(t)
	if err := n.Net.Claim(); err != nil {
		t.Fatalf("a free network: %v", err)
	}
	if _, err := n.EnsureSandbox(t.Context(), nodetest.Sandbox("first")); err != nil {
		t.Fatal(err)
	}
	if err := n.Net.Claim(); err != nil {
		t.Errorf("its own network: %v", err)
	}
	other := n.NetConf
	other.Owner, other.StateDir = t.TempDir(), t.TempDir()
	second, err := network.New(other, nodetest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	var owned *network.OwnedError
	if err := second.Claim(); !errors.As(err, &owned) || owned.Owner != owner || !strings.Contains(err.Error(), "headway cleanup --data-dir "+owner) {
		t.Errorf("another cluster's network: %v, want that it is that of %s", err, owner)
	}
	if _, err := second.Attach(t.Context(), "pod", "/proc/self/ns/net", nil); !errors.As(err, &owned) {
		t.Errorf("a pod in another cluster's network: %v, want that it is refused", err)
	}
	if err := os.Remove(owner); err != nil {
		t.Fatal(err)
	}
	if err := second.Claim(); err != nil {
		t.Errorf("the network of a cluster that is gone: %v", err)
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
	if err := n.Net.SetPodCIDRs(cidr, netip.Prefix{}); err != nil {
		t.Fatal(err)
	}
	box, err := n.EnsureSandbox(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if !cidr.Contains(netip.MustParseAddr(box.IPs[0])) {
		t.Errorf("address = %s, want one of %s", box.IPs[0], cidr)
	}
	if err := n.Net.SetPodCIDRs(netip.MustParsePrefix("10.99.0.0/24"), netip.Prefix{}); err == nil {
		t.Error("another podCIDR was accepted while a pod has an address")
	}
}

// TestHostPortsGoFirst: a pod goes with its host port also before the node knows its range,
// as with "headway cleanup", which never does; those of others stay.
func TestHostPortsGoFirst(t *testing.T) {
	n := nodetest.Start(t)
	goes, stays := nodetest.Sandbox("goes"), nodetest.Sandbox("stays")
	goes.HostPorts = []runtime.HostPort{{Protocol: "TCP", HostPort: 28085, ContainerPort: 8080}}
	stays.HostPorts = []runtime.HostPort{{Protocol: "TCP", HostPort: 28086, ContainerPort: 8080}}
	for _, pod := range []runtime.SandboxConfig{goes, stays} {
		n.Run(t, pod, "main", "serve")
	}
	n.NetConf.PodCIDR = netip.Prefix{}
	n.Restart(t)
	if err := n.RemoveSandbox(t.Context(), goes.PodRef); err != nil {
		t.Fatal(err)
	}
	if resp, err := impatient().Do(nodetest.Request(t, "http://127.0.0.1:28085/")); err == nil {
		resp.Body.Close()
		t.Error("the host port answers after its pod is gone")
	}
	if got := nodetest.Get(t, "http://127.0.0.1:28086/hostname"); got != "stays\n" {
		t.Errorf("the host port of the other pod answers %q", got)
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
		"too small 6": {Bridge: "b", StateDir: dir, PodCIDR: netip.MustParsePrefix("10.0.0.0/24"), PodCIDR6: netip.MustParsePrefix("fd00::/112")},
		"no IPv6":     {Bridge: "b", StateDir: dir, PodCIDR: netip.MustParsePrefix("10.0.0.0/24"), PodCIDR6: netip.MustParsePrefix("10.1.0.0/24")},
		"too small":   {Bridge: "b", StateDir: dir, PodCIDR: netip.MustParsePrefix("10.0.0.0/31")},
	} {
		if _, err := network.New(cfg, nodetest.Logger(t)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// A pod cannot speak as another node: what it sends to a node's VXLAN port does not arrive,
// by whatever address of the node.
func TestPodsSendNoVXLAN(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("forger")
	n.Run(t, pod, "main", "serve")
	gateway := n.NetConf.PodCIDR.Addr().Next().String()
	listen := func(port int) net.PacketConn {
		t.Helper()
		conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", net.JoinHostPort(gateway, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	vxlan, other := listen(network.VXLANPort), listen(network.VXLANPort+1)
	lease := leaseOf(t, n, pod.UID)
	for _, port := range []int{network.VXLANPort, network.VXLANPort + 1} {
		script := fmt.Sprintf("echo forged > /dev/udp/%s/%d", gateway, port)
		if out, err := exec.CommandContext(t.Context(), "nsenter", "--net="+lease.NetNS, "bash", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	buffer := make([]byte, 64)
	if err := other.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.ReadFrom(buffer); err != nil {
		t.Fatalf("what is sent to another port does not arrive: %v", err)
	}
	// It was sent before.
	if err := vxlan.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if k, from, err := vxlan.ReadFrom(buffer); err == nil {
		t.Errorf("the VXLAN port got %q from %s", buffer[:k], from)
	}
}

func leaseOf(t *testing.T, n *nodetest.Node, uid string) (lease network.Lease) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(n.NetConf.StateDir, uid+".json"))
	if err == nil {
		err = json.Unmarshal(data, &lease)
	}
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// A pod does not reach what listens on the node's loopback addresses, without the service
// proxy's rules, too.
func TestPodsDoNotReachLoopback(t *testing.T) {
	n := nodetest.Start(t)
	pod := nodetest.Sandbox("forger")
	n.Run(t, pod, "main", "serve")
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	lease := leaseOf(t, n, pod.UID)
	in := func(script string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "nsenter", "--net="+lease.NetNS, "bash", "-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
	}
	// As a pod with CAP_NET_ADMIN may: 127.0.0.1 is beyond its gateway.
	in(fmt.Sprintf(`set -e
echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
ip rule add pref 100 lookup local
ip rule del pref 0
ip rule add pref 5 to 127.0.0.1 lookup 77
ip route add 127.0.0.1 via %s dev eth0 src %s table 77`, n.NetConf.PodCIDR.Addr().Next(), lease.IP))
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	arrives := func(text string, within time.Duration) bool {
		in("echo " + text + " > /dev/udp/127.0.0.1/" + port)
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, _, err := conn.ReadFrom(make([]byte, 64))
		return err == nil
	}
	if arrives("one", time.Second) {
		t.Error("it arrives")
	}
	chain := n.NetConf.Chains + "-PODVXLAN"
	remove := exec.CommandContext(t.Context(), "iptables", "-w", "10", "-t", "mangle", "-D", chain, "-d", "127.0.0.0/8", "-i", n.NetConf.Bridge,
		"-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED,DNAT", "-j", "DROP")
	if out, err := remove.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !arrives("two", 10*time.Second) {
		t.Error("without the rule it does not arrive either: the test shows nothing")
	}
}
