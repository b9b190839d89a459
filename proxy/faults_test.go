package proxy_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/proxy"
	"headway.dev/proxy/kernel"
)

const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"

func loopbackOpen(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(routeLocalnet)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// packet is an IPv4 packet with a TCP or UDP payload, whose checksum is filled in.
func packet(protocol byte, from, to string, payload []byte) []byte {
	src, dst := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	pseudo := append(append(append([]byte{}, src[:]...), dst[:]...), 0, protocol, byte(len(payload)>>8), byte(len(payload)))
	if protocol == unix.IPPROTO_TCP {
		binary.BigEndian.PutUint16(payload[16:], checksum(append(pseudo, payload...)))
	}
	out := make([]byte, 20, 20+len(payload))
	out[0], out[8], out[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(out[2:], uint16(20+len(payload)))
	copy(out[12:], src[:])
	copy(out[16:], dst[:])
	binary.BigEndian.PutUint16(out[10:], checksum(out))
	return append(out, payload...)
}

func datagram(from, to uint16, text string) []byte {
	out := make([]byte, 8, 8+len(text))
	binary.BigEndian.PutUint16(out, from)
	binary.BigEndian.PutUint16(out[2:], to)
	binary.BigEndian.PutUint16(out[4:], uint16(8+len(text)))
	return append(out, text...)
}

// frames is a socket that sends IPv4 packets to a neighbour, whatever their address.
func (h *host) frames(t *testing.T, neighbour netlink.Link) func([]byte) error {
	t.Helper()
	var fd int
	var to unix.SockaddrLinklayer
	if err := h.do(func() error {
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		const ipv4 = 0x0008 // ETH_P_IP in the order of the network
		to = unix.SockaddrLinklayer{Protocol: ipv4, Ifindex: eth.Attrs().Index, Halen: 6}
		copy(to.Addr[:], neighbour.Attrs().HardwareAddr)
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return func(p []byte) error { return unix.Sendto(fd, p, 0, &to) }
}

// Nobody outside of the node reaches its loopback addresses: not before the proxy's
// rules are there, not while it runs, and not when they go again.
func TestLoopbackIsGuarded(t *testing.T) { eachMode(t, testLoopbackIsGuarded) }

func testLoopbackIsGuarded(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	outside := newOutside(t)
	send := outside.frames(t, outside.link(t))
	if before := loopbackOpen(t); before != "0" {
		t.Fatalf("route_localnet is %s before the test", before)
	}
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:9999")
	if err != nil {
		t.Fatal(err)
	}
	var got atomic.Int64
	var guarded atomic.Bool
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 100)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			switch string(buf[:n]) {
			case "martian":
				got.Add(1)
			case "guarded":
				guarded.Store(true)
			}
		}
	}()
	martian := packet(unix.IPPROTO_UDP, outside.ip, "127.0.0.1", datagram(9999, 9999, "martian"))

	// The test would see them: without rules, where loopback addresses are routed.
	if err := os.WriteFile(routeLocalnet, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an unguarded node gets them", func() bool { return send(martian) == nil && got.Load() > 0 })
	if err := os.WriteFile(routeLocalnet, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Those that came before this one are read before it.
	own := func(text string) {
		t.Helper()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "udp4", "127.0.0.1:9999")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, text)
	}
	own("guarded")
	eventually(t, "the unguarded ones are read", guarded.Load)
	got.Store(0)

	stop, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		for {
			select {
			case <-stop:
				return
			default:
				if err := send(martian); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	end := start(t, mode, m)
	eventually(t, "a node port on 127.0.0.1 answers", reaches(nil, "127.0.0.1:30080", a))
	end()
	if err := proxy.Cleanup(context.Background()); err != nil {
		t.Fatal(err)
	}
	close(stop)
	<-sent
	if after := loopbackOpen(t); after != "0" {
		t.Errorf("route_localnet is %s after Cleanup, want what it was", after)
	}
	// The last one arrives after all others.
	own("martian")
	eventually(t, "the node gets its own", func() bool { return got.Load() > 0 })
	conn.Close()
	<-read
	if n := got.Load(); n != 1 {
		t.Errorf("%d packets from outside reached 127.0.0.1", n-1)
	}
}

// What others opened stays so.
func TestLoopbackOfOthers(t *testing.T) {
	if err := os.WriteFile(routeLocalnet, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(routeLocalnet, []byte("0"), 0o644); err != nil {
			t.Error(err)
		}
	})
	if err := kernel.OpenLoopback(); err != nil {
		t.Fatal(err)
	}
	if err := kernel.CloseLoopback(); err != nil || loopbackOpen(t) != "1" {
		t.Errorf("route_localnet is %s, %v; want 1", loopbackOpen(t), err)
	}
}

// A segment of a pod that belongs to no connection, as the kernel sees it, does not
// leave with the pod's own address: the client would reset the connection.
func TestInvalidSegments(t *testing.T) { eachMode(t, testInvalidSegments) }

func testInvalidSegments(t *testing.T, mode proxy.Mode) {
	t.Helper()
	pods, outside := servers(t, a), newOutside(t)
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	start(t, mode, m)
	eventually(t, "the node port answers", reaches(outside, nodeIP+":30080", a))
	// The pod is reached by its own address here, so that it knows the client's port.
	conn, err := outside.dial("tcp4", a+":8080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	port := uint16(conn.LocalAddr().(*net.TCPAddr).Port)

	var seen net.PacketConn
	if err := outside.do(func() (err error) {
		seen, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "ip4:tcp", outside.ip)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		t.Fatal(err)
	}
	send := pods[0].frames(t, br)
	segment := func(from uint16, seq uint32) []byte {
		tcp := make([]byte, 20)
		binary.BigEndian.PutUint16(tcp, from)
		binary.BigEndian.PutUint16(tcp[2:], port)
		binary.BigEndian.PutUint32(tcp[4:], seq)
		binary.BigEndian.PutUint32(tcp[8:], seq)
		tcp[12], tcp[13] = 5<<4, 0x10 // ACK
		binary.BigEndian.PutUint16(tcp[14:], 1024)
		return packet(unix.IPPROTO_TCP, a, outside.ip, tcp)
	}
	// One without a flag is invalid in any state. The one that follows begins a flow of
	// its own, as the kernel sees it, and arrives after the other.
	invalid := segment(8080, 1)
	invalid = packet(unix.IPPROTO_TCP, a, outside.ip, func() []byte {
		tcp := invalid[20:]
		tcp[13] = 0
		tcp[16], tcp[17] = 0, 0
		return tcp
	}())
	for range 5 {
		if err := send(invalid); err != nil {
			t.Fatal(err)
		}
	}
	if err := send(segment(7777, 1)); err != nil {
		t.Fatal(err)
	}
	if err := seen.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for {
		n, from, err := seen.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if from.String() != a || n < 20 {
			continue
		}
		switch binary.BigEndian.Uint16(buf) {
		case 7777:
			return
		case 8080:
			if buf[13] == 0 {
				t.Fatal("the client got an invalid segment from the pod")
			}
		}
	}
}

// Who tried to connect before the rules were there gets through when they are.
func TestEarlyConnections(t *testing.T) { eachMode(t, testEarlyConnections) }

func testEarlyConnections(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	outside := newOutside(t)
	m := newMemory()
	m.set(newService("other", "10.96.0.99", 0), ready(a))
	start(t, mode, m)
	eventually(t, "the proxy runs", reaches(outside, "10.96.0.99:80", a))
	// Always from the same port, as the further tries of one connection are. The
	// address leads back to where it came from, and is answered by nobody there.
	try := func() error {
		return outside.do(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(outside.ip), Port: 45454}, Timeout: 500 * time.Millisecond}
			c, err := d.DialContext(t.Context(), "tcp4", vip+":80")
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	flows := func() string {
		all, err := netlink.ConntrackTableList(netlink.ConntrackTable, netlink.FAMILY_V4)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			if f.Forward.SrcPort == 45454 {
				return f.String()
			}
		}
		return ""
	}
	eventually(t, "the kernel has a flow of before", func() bool { return try() != nil && flows() != "" })
	before := flows()
	m.set(newService("web", vip, 0), ready(a))
	eventually(t, "it gets through from that port", func() bool { return try() == nil })
	if after := flows(); after == before {
		t.Errorf("the flow is still that of before: %s", after)
	}
}

// A client with affinity is served also when no more clients can be remembered.
func TestAffinityWithoutRoom(t *testing.T) {
	servers(t, a)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	m.set(newService("web", vip, 0, func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }), ready(a))
	start(t, proxy.ModeNftables, m)
	eventually(t, "the rules are there", func() bool { return strings.Contains(saved(t), "set clients-4-") })
	// 65535 is the kernel's bound for sets that rules add to.
	for line := range strings.Lines(saved(t)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "set clients-4-")
		if !ok {
			continue
		}
		name = "clients-4-" + strings.TrimSuffix(name, " {")
		var b strings.Builder
		fmt.Fprintf(&b, "add element inet headway-proxy %s { 172.16.0.0", name)
		for i := 1; i < 65535; i++ {
			fmt.Fprintf(&b, ", 172.16.%d.%d", i>>8, i&0xff)
		}
		b.WriteString(" }\n")
		cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(b.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if server, _, err := client.ask(vip + ":80"); err != nil || server != a {
		t.Errorf("answered by %q, %v", server, err)
	}
	if n := strings.Count(saved(t), "172.16."); n < 65535 {
		t.Fatalf("only %d clients are remembered: the test proves nothing", n)
	}
}

// Where source ranges have the node, it reaches the load balancer's address also if
// it holds that itself.
func TestOwnBalancer(t *testing.T) { eachMode(t, testOwnBalancer) }

func testOwnBalancer(t *testing.T, mode proxy.Mode) {
	t.Helper()
	servers(t, a)
	outside := newOutside(t)
	const lb = "192.0.2.77"
	if err := addAddr(outside.link(t), lb); err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	start(t, mode, m)
	from := func(ranges ...string) *corev1.Service {
		return newService("web", vip, 0, balancer(lb, func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = ranges }))
	}
	m.set(from(nodeIP+"/32"), ready(a))
	eventually(t, "the node reaches it", reaches(nil, lb+":80", a))
	unanswered(t, "who is outside", outside, lb+":80")
	m.set(from(outside.ip+"/32"), ready(a))
	eventually(t, "who is in the range reaches it", reaches(outside, lb+":80", a))
	unanswered(t, "the node", nil, lb+":80")
}

// Jumps that another version left in another order are put in order.
func TestOrderOfJumps(t *testing.T) {
	servers(t, a)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	stop := start(t, proxy.ModeIptables, m)
	eventually(t, "the service answers", reaches(client, vip+":80", a))
	list := func() string {
		out, err := exec.CommandContext(t.Context(), "iptables", "-t", "nat", "-S", "PREROUTING").Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	want := list()
	stop()
	rules := strings.Split(strings.TrimSpace(want), "\n")
	first := strings.TrimPrefix(rules[1], "-A ") // 0 is the policy
	for _, edit := range []string{"-t nat -D " + first, "-t nat -A " + first, "-t nat -A PREROUTING -s 198.51.100.0/24 -j ACCEPT"} {
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", "iptables "+edit).CombinedOutput(); err != nil {
			t.Fatalf("iptables %s: %v: %s", edit, err, out)
		}
	}
	if list() == want {
		t.Fatal("the order was not changed")
	}
	start(t, proxy.ModeIptables, m)
	eventually(t, "the jumps are in order, before what others have", func() bool {
		return list() == want+"-A PREROUTING -s 198.51.100.0/24 -j ACCEPT\n"
	})
	if out, err := exec.CommandContext(t.Context(), "iptables", "-t", "nat", "-D", "PREROUTING", "-s", "198.51.100.0/24", "-j", "ACCEPT").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// A failure that passes disables no Service: the next try writes its rules.
func TestPassingFailure(t *testing.T) {
	servers(t, a)
	real, err := exec.LookPath("iptables-restore")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	// Line 15 or so is that of a Service's chain.
	script := fmt.Sprintf(`#!/bin/sh
cat > %[1]s/input.$$
if [ -e %[2]s ]; then
	rm %[2]s
	line=$(grep -n -m 1 -e '^-A HEADWAY-SVC' %[1]s/input.$$ | cut -d: -f1)
	rm %[1]s/input.$$
	echo "iptables-restore v1.8.9 (nf_tables): line $line: RULE_APPEND failed (Resource temporarily unavailable): rule in chain HEADWAY-SVC" >&2
	exit 4
fi
%[3]s "$@" < %[1]s/input.$$
rc=$?
rm %[1]s/input.$$
exit $rc
`, dir, broken, real)
	if err := os.WriteFile(filepath.Join(dir, "iptables-restore"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	w := newWriter(t, proxy.ModeIptables, ipv4(), discard)
	web := newService("web", vip, 0)
	if err := w.Apply(t.Context(), decideOne(ipv4(), web, sliceOf(web, ready(a)))); err == nil || !strings.Contains(err.Error(), "temporarily") {
		t.Errorf("Apply: %v, want the failure", err)
	}
	if err := kernel.Prepare(ipv4()); err != nil {
		t.Fatal(err)
	}
	if err := w.Apply(t.Context(), decideNone()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service answers", reaches(nil, vip+":80", a))
}
