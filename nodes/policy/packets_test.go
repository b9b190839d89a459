package policy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/nodepolicy"
	"headway.dev/nodes/network"
	"headway.dev/nodes/policy"
)

// node is a machine in a network namespace of its own, with pods in theirs.
type node struct {
	t    *testing.T
	name string
	net  *network.Network
	ips  map[string]string // of the pods
	// family is "4" or "6": the one of ips.
	family string
	rules  *policy.Rules
}

// inside runs f in a network namespace.
func inside(tb testing.TB, name string, f func() error) error {
	tb.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromPath("/run/netns/" + name)
		if err != nil {
			done <- err
			return
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func command(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.CommandContext(context.WithoutCancel(tb.Context()), args[0], args[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func addNamespace(tb testing.TB, name string) {
	tb.Helper()
	command(tb, "ip", "netns", "add", name)
	tb.Cleanup(func() { command(tb, "ip", "netns", "del", name) })
}

func startNode(t *testing.T, pods ...string) *node {
	t.Helper()
	return startNodeOf(t, "4", pods...)
}

// startNodeOf starts a node whose tests are of a family, "4" or "6".
func startNodeOf(t *testing.T, family string, pods ...string) *node {
	t.Helper()
	n := &node{t: t, name: fmt.Sprintf("hwnp%d", os.Getpid()), ips: map[string]string{}, family: family}
	var six netip.Prefix
	if family == "6" {
		six = netip.MustParsePrefix("fd77::/64")
	}
	addNamespace(t, n.name)
	for _, pod := range pods {
		addNamespace(t, n.ns(pod))
	}
	n.in(func() error {
		var err error
		n.net, err = network.New(network.Config{
			Bridge: "headway0", PodCIDR: netip.MustParsePrefix("10.77.0.0/24"), PodCIDR6: six, ClusterCIDR6: six, StateDir: filepath.Join(t.TempDir(), "network"), MTU: 1500,
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		for _, pod := range pods {
			ips, err := n.net.Attach(t.Context(), pod, "/run/netns/"+n.ns(pod), nil)
			if err != nil {
				return err
			}
			n.ips[pod] = ips[len(ips)-1].String()
		}
		n.rules, err = policy.NewRules(six.IsValid())
		return err
	})
	return n
}

func (n *node) ns(pod string) string { return n.name + pod }

// in runs f on the node.
func (n *node) in(f func() error) {
	n.t.Helper()
	if err := inside(n.t, n.name, f); err != nil {
		n.t.Fatal(err)
	}
}

// apply makes a state the node's.
func (n *node) apply(s nodepolicy.State) {
	n.t.Helper()
	n.in(func() error {
		n.rules.Take(&nodepolicy.Change{Reset: true, State: s})
		n.rules.Attach(n.net.Attached())
		return errors.Join(n.rules.Write(context.WithoutCancel(n.t.Context())))
	})
}

// serve answers connections and datagrams in a pod with its name, until the test ends.
func (n *node) serve(pod string, port int) {
	n.t.Helper()
	err := inside(n.t, n.ns(pod), func() error {
		l, err := (&net.ListenConfig{}).Listen(n.t.Context(), "tcp"+n.family, fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		u, err := (&net.ListenConfig{}).ListenPacket(n.t.Context(), "udp"+n.family, fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		n.t.Cleanup(func() { l.Close(); u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.Copy(c, io.MultiReader(strings.NewReader(pod+"\n"), c))
				}()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				size, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = u.WriteTo(buf[:size], from)
			}
		}()
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

const patience = 400 * time.Millisecond

// dial connects from a pod (empty: from the node) to an address.
func (n *node) dial(from, protocol, to string, port int) (c net.Conn, err error) {
	name := n.name
	if from != "" {
		name = n.ns(from)
	}
	err = inside(n.t, name, func() error {
		d := net.Dialer{Timeout: patience}
		c, err = d.DialContext(context.WithoutCancel(n.t.Context()), protocol+n.family, net.JoinHostPort(to, fmt.Sprint(port)))
		return err
	})
	return c, err
}

// reaches reports whether an answer comes back.
func (n *node) reaches(from, protocol, to string, port int) bool {
	c, err := n.dial(from, protocol, to, port)
	if err != nil {
		return false
	}
	defer c.Close()
	return echoes(c)
}

// echoes reports whether what is sent now comes back: something from before may still be
// there to be read.
func echoes(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(patience))
	sent := fmt.Sprintf("<%d>", time.Now().UnixNano())
	if _, err := io.WriteString(c, sent); err != nil {
		return false
	}
	got, buf := "", make([]byte, 100)
	for !strings.Contains(got, sent) {
		size, err := c.Read(buf)
		if err != nil {
			return false
		}
		got += string(buf[:size])
	}
	return true
}

// expect compares who reaches whom.
func (n *node) expect(what string, want map[string]bool) {
	n.t.Helper()
	for one, reached := range want {
		var from, protocol, to string
		var port int
		if _, err := fmt.Sscanf(one, "%s %s %s %d", &from, &protocol, &to, &port); err != nil {
			n.t.Fatal(one, err)
		}
		if from == "node" {
			from = ""
		}
		if got := n.reaches(from, protocol, n.ips[to], port); got != reached {
			n.t.Errorf("%s: %s reaches: %v, want %v", what, one, got, reached)
		}
	}
}

func (n *node) members(pods ...string) map[types.UID]*nodepolicy.Member {
	members := map[types.UID]*nodepolicy.Member{}
	for _, pod := range pods {
		members[types.UID(pod)] = &nodepolicy.Member{
			IPs: []netip.Addr{netip.MustParseAddr(n.ips[pod])}, Ports: []nodepolicy.NamedPort{{Name: "web", Protocol: "TCP", Port: 8080}},
		}
	}
	return members
}

// isolating is a state with one profile for pod b.
func (n *node) isolating(egress bool, rules ...nodepolicy.Rule) nodepolicy.State {
	b := &nodepolicy.Pod{Ingress: "i1", Ports: []nodepolicy.NamedPort{{Name: "web", Protocol: "TCP", Port: 8080}}}
	if egress {
		b.Ingress, b.Egress = "", "i1"
	}
	return nodepolicy.State{
		Pods:     map[types.UID]*nodepolicy.Pod{"a": {}, "b": b, "c": {}},
		Profiles: map[string]*nodepolicy.Profile{"i1": {Egress: egress, Rules: rules}},
		Groups:   map[string]map[types.UID]*nodepolicy.Member{"ga": n.members("a"), nodepolicy.Everything: n.members("a", "b", "c"), nodepolicy.Nodes: {}},
	}
}

func TestPackets(t *testing.T) {
	n := startNode(t, "a", "b", "c")
	for _, pod := range []string{"a", "b", "c"} {
		n.serve(pod, 8080)
		n.serve(pod, 8081)
	}
	tcp := func(first, last uint16) []nodepolicy.Port {
		return []nodepolicy.Port{{Protocol: "TCP", First: first, Last: last}}
	}
	name := []nodepolicy.Port{{Protocol: "TCP", Name: "web"}}
	all := netip.MustParsePrefix("10.77.0.0/24")
	just := func(pod string) netip.Prefix { return netip.MustParsePrefix(n.ips[pod] + "/32") }
	n.apply(nodepolicy.State{Pods: map[types.UID]*nodepolicy.Pod{"a": {}, "b": {}, "c": {}}})
	n.expect("no policy", map[string]bool{"a tcp b 8080": true, "b udp c 8081": true, "node tcp b 8080": true})
	for _, tc := range []struct {
		what   string
		egress bool
		rules  []nodepolicy.Rule
		want   map[string]bool
	}{
		{"nothing in", false, nil, map[string]bool{
			"a tcp b 8080": false, "c udp b 8080": false, "b tcp a 8080": true, "b udp c 8080": true, "a tcp c 8080": true, "b tcp b 8080": true,
			"node tcp b 8080": true, "node udp b 8081": true,
		}},
		{"nothing out", true, nil, map[string]bool{"b tcp a 8080": false, "b udp c 8080": false, "a tcp b 8080": true, "c udp b 8080": true, "b udp b 8081": true, "node tcp b 8080": true}},
		{"from a group", false, []nodepolicy.Rule{{Groups: []string{"ga"}}}, map[string]bool{"a tcp b 8080": true, "a udp b 8081": true, "c tcp b 8080": false}},
		{"from a group to a port", false, []nodepolicy.Rule{{Groups: []string{"ga"}, Ports: tcp(8080, 8080)}}, map[string]bool{"a tcp b 8080": true, "a tcp b 8081": false, "a udp b 8080": false, "c tcp b 8080": false}},
		{"to ports", false, []nodepolicy.Rule{{Any: true, Ports: tcp(8000, 8080)}}, map[string]bool{"a tcp b 8080": true, "c tcp b 8080": true, "a tcp b 8081": false}},
		{"to all of a protocol", false, []nodepolicy.Rule{{Any: true, Ports: []nodepolicy.Port{{Protocol: "UDP"}}}}, map[string]bool{"a tcp b 8080": false, "c udp b 8080": true, "a udp b 8081": true}},
		{"to a name", false, []nodepolicy.Rule{{Any: true, Ports: name}}, map[string]bool{"a tcp b 8080": true, "a tcp b 8081": false}},
		{"a range but one", false, []nodepolicy.Rule{{Blocks: []nodepolicy.Block{{CIDR: all, Except: []netip.Prefix{just("c"), just("c")}}}}}, map[string]bool{"a tcp b 8080": true, "c tcp b 8080": false}},
		{"ranges", false, []nodepolicy.Rule{{Blocks: []nodepolicy.Block{{CIDR: just("c")}, {CIDR: netip.MustParsePrefix("10.0.0.0/16")}, {CIDR: netip.MustParsePrefix("10.0.0.0/8")}, {CIDR: netip.MustParsePrefix("2001:db8::/32")}}, Ports: tcp(8080, 8080)}}, map[string]bool{"a tcp b 8080": true, "c tcp b 8081": false}},
		{"union", false, []nodepolicy.Rule{{Groups: []string{"ga"}, Ports: tcp(8080, 8080)}, {Blocks: []nodepolicy.Block{{CIDR: just("c")}}, Ports: tcp(8081, 8081)}}, map[string]bool{"a tcp b 8080": true, "a tcp b 8081": false, "c tcp b 8080": false, "c tcp b 8081": true}},
		{"sets of ports", false, []nodepolicy.Rule{{Groups: []string{"ga"}, Ports: append(append(tcp(443, 443), tcp(8000, 8079)...), append(tcp(8050, 8080), nodepolicy.Port{Protocol: "UDP", First: 8081, Last: 8081})...)}}, map[string]bool{
			"a tcp b 8080": true, "a tcp b 8081": false, "a udp b 8081": true, "a udp b 8080": false, "c tcp b 8080": false,
		}},
		{"out to a group's name", true, []nodepolicy.Rule{{Groups: []string{"ga"}, Ports: name}}, map[string]bool{"b tcp a 8080": true, "b tcp a 8081": false, "b tcp c 8080": false}},
		{"out to a name", true, []nodepolicy.Rule{{Any: true, Ports: name}}, map[string]bool{"b tcp a 8080": true, "b tcp c 8080": true, "b tcp c 8081": false}},
	} {
		n.apply(n.isolating(tc.egress, tc.rules...))
		n.expect(tc.what, tc.want)
	}
	open := n.isolating(false, nodepolicy.Rule{Any: true})
	shut := n.isolating(false)

	// Connections end with the next packet, whoever sends it, and go on when they may.
	n.apply(open)
	for _, protocol := range []string{"tcp", "udp"} {
		c, err := n.dial("a", protocol, n.ips["b"], 8080)
		if err != nil || !echoes(c) {
			t.Fatalf("%s: %v", protocol, err)
		}
		n.apply(shut)
		if echoes(c) {
			t.Errorf("a %s connection goes on that is forbidden", protocol)
		}
		c.Close()
		n.apply(open)
	}
	streamIsCut(t, n, open, shut)

	// Nodes' own programs reach pods of other nodes by the address of their bridge.
	fromNode := n.isolating(false)
	fromNode.Groups[nodepolicy.Nodes] = n.members("c")
	n.apply(fromNode)
	n.expect("address of a node", map[string]bool{"c tcp b 8080": true, "a tcp b 8080": false})

	spoofing(t, n)
	restart(t, n)
	sctp(t, n)
}

// streamIsCut has a server send without being asked.
func streamIsCut(t *testing.T, n *node, open, shut nodepolicy.State) {
	t.Helper()
	n.apply(open)
	var u net.PacketConn
	err := inside(t, n.ns("b"), func() (err error) {
		u, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", ":9090")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	c, err := n.dial("a", "udp", n.ips["b"], 9090)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	_ = u.SetDeadline(time.Now().Add(5 * time.Second))
	_, client, err := u.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	sent := func() bool {
		if _, err := u.WriteTo([]byte("y"), client); err != nil {
			return false
		}
		_ = c.SetReadDeadline(time.Now().Add(patience))
		_, err := c.Read(buf)
		return err == nil
	}
	if !sent() {
		t.Error("no datagram of the server arrives")
	}
	n.apply(shut)
	if sent() {
		t.Error("a server sends on by a connection that is forbidden")
	}
	n.apply(open)
	if !sent() {
		t.Error("a connection that is allowed again does not go on")
	}
}

// spoofing has a pod use the address of another, and IPv6.
func spoofing(t *testing.T, n *node) {
	t.Helper()
	n.apply(n.isolating(false, nodepolicy.Rule{Groups: []string{"ga"}}))
	enter := func(pod string, args ...string) {
		command(t, append([]string{"nsenter", "--net=/run/netns/" + n.ns(pod)}, args...)...)
	}
	var u net.PacketConn
	if err := inside(t, n.ns("b"), func() (err error) {
		u, err = (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", ":9091")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	send := func(pod, as string) bool {
		err := inside(t, n.ns(pod), func() error {
			d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(as)}}
			c, err := d.DialContext(t.Context(), "udp4", n.ips["b"]+":9091")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = u.SetReadDeadline(time.Now().Add(patience))
		_, _, err = u.ReadFrom(make([]byte, 10))
		return err == nil
	}
	enter("c", "ip", "addr", "add", n.ips["a"]+"/32", "dev", "eth0")
	defer enter("c", "ip", "addr", "del", n.ips["a"]+"/32", "dev", "eth0")
	if !send("a", n.ips["a"]) {
		t.Error("a pod that is allowed does not reach its peer")
	}
	if send("c", n.ips["a"]) {
		t.Error("a pod sends by the address of another")
	}
	if out, err := exec.CommandContext(t.Context(), "nsenter", "--net=/run/netns/"+n.ns("b"), "ip", "-6", "-o", "addr", "show", "dev", "eth0").Output(); err == nil && strings.Contains(string(out), "fe80::") {
		address, _, _ := strings.Cut(strings.Fields(string(out))[3], "/")
		err := inside(t, n.ns("a"), func() error {
			d := net.Dialer{Timeout: patience}
			link, err := net.InterfaceByName("eth0")
			if err != nil {
				return err
			}
			c, err := d.DialContext(t.Context(), "tcp6", fmt.Sprintf("[%s%%%d]:8080", address, link.Index))
			if err == nil {
				c.Close()
				return nil
			}
			return err
		})
		if err == nil {
			t.Error("pods reach each other by IPv6, which no policy is about")
		}
	}
}

// restart has another agent take over, and somebody knock meanwhile.
func restart(t *testing.T, n *node) {
	t.Helper()
	shut := n.isolating(false)
	n.apply(shut)
	stop, got := make(chan struct{}), make(chan bool)
	go func() {
		through := false
		for {
			select {
			case <-stop:
				got <- through
				return
			default:
			}
			c, err := n.dial("a", "tcp", n.ips["b"], 8080)
			if err == nil {
				through = true
				c.Close()
			}
		}
	}()
	for range 10 {
		n.in(func() (err error) {
			n.rules, err = policy.NewRules(false)
			return err
		})
		n.apply(shut)
	}
	close(stop)
	if <-got {
		t.Error("a connection got through while the rules were replaced")
	}
	// Rules that another program flushed are put back.
	n.in(func() error {
		return exec.CommandContext(t.Context(), "nft", "flush", "ruleset").Run()
	})
	n.expect("flushed", map[string]bool{"a tcp b 8080": true})
	n.in(func() error {
		missing, err := n.rules.Verify(t.Context())
		if err != nil || !missing {
			return fmt.Errorf("flushed rules are missing: %v, %w", missing, err)
		}
		return errors.Join(n.rules.Write(t.Context()))
	})
	n.expect("put back", map[string]bool{"a tcp b 8080": false})
	n.in(func() error {
		if missing, err := n.rules.Verify(t.Context()); err != nil || missing {
			return fmt.Errorf("rules that are there are missing: %v, %w", missing, err)
		}
		return policy.Cleanup(t.Context())
	})
	n.expect("cleaned up", map[string]bool{"a tcp b 8080": true})
	n.in(func() (err error) {
		n.rules, err = policy.NewRules(false)
		return err
	})
}

// sctp is judged where the kernel has it.
func sctp(t *testing.T, n *node) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
	if err != nil {
		t.Logf("this kernel has no SCTP: %v", err)
		return
	}
	_ = unix.Close(fd)
	var server int
	if err := inside(t, n.ns("b"), func() (err error) {
		if server, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); err != nil {
			return err
		}
		if err := unix.Bind(server, &unix.SockaddrInet4{Port: 8080}); err != nil {
			return err
		}
		return unix.Listen(server, 10)
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(server) }()
	reaches := func(from string) bool {
		return inside(t, n.ns(from), func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP)
			if err != nil {
				return err
			}
			defer func() { _ = unix.Close(fd) }()
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: patience.Microseconds()}); err != nil {
				return err
			}
			return unix.Connect(fd, &unix.SockaddrInet4{Port: 8080, Addr: netip.MustParseAddr(n.ips["b"]).As4()})
		}) == nil
	}
	n.apply(n.isolating(false, nodepolicy.Rule{Groups: []string{"ga"}, Ports: []nodepolicy.Port{{Protocol: "SCTP", First: 8080, Last: 8080}}}))
	if !reaches("a") || reaches("c") {
		t.Error("SCTP is not judged by its rules")
	}
}

// Rules that the kernel refuses shut their own pods, and keep no others from changing.
func TestRefused(t *testing.T) {
	n := startNode(t, "a", "b", "c")
	for _, pod := range []string{"a", "b", "c"} {
		n.serve(pod, 8080)
	}
	s := n.isolating(false, nodepolicy.Rule{Any: true})
	n.apply(s)
	n.expect("open", map[string]bool{"a tcp b 8080": true})

	bad := []nodepolicy.Rule{{Any: true, Ports: []nodepolicy.Port{{Protocol: "none-such"}}}}
	s.Pods["a"], s.Pods["c"] = &nodepolicy.Pod{Ingress: "i2"}, &nodepolicy.Pod{Ingress: "i3"}
	s.Profiles["i1"] = &nodepolicy.Profile{Rules: bad}
	s.Profiles["i2"] = &nodepolicy.Profile{}
	s.Profiles["i3"] = &nodepolicy.Profile{Rules: []nodepolicy.Rule{{Groups: []string{"ga"}}}}
	for range 2 { // as before, and when the kernel is asked again
		n.apply(s)
		if shut := n.rules.Shut(); len(shut) != 1 || shut["i1"] == nil {
			t.Errorf("shut are %v", shut)
		}
		n.expect("one is refused", map[string]bool{"a tcp b 8080": false, "b tcp a 8080": false, "a tcp c 8080": true, "b tcp c 8080": false, "node tcp b 8080": true})
		n.rules.Reopen()
	}
	// What changes later changes.
	s.Profiles["i2"] = &nodepolicy.Profile{Rules: []nodepolicy.Rule{{Any: true}}}
	n.apply(s)
	n.expect("another changes", map[string]bool{"a tcp b 8080": false, "b tcp a 8080": true})
	s.Profiles["i1"] = &nodepolicy.Profile{Rules: []nodepolicy.Rule{{Groups: []string{"ga"}}}}
	n.apply(s)
	if shut := n.rules.Shut(); len(shut) != 0 {
		t.Errorf("shut are %v", shut)
	}
	n.expect("mended", map[string]bool{"a tcp b 8080": true, "c tcp b 8080": false})
}
