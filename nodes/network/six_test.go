package network_test

import (
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/network"
	"headway.dev/nodes/nodetest"
	noderuntime "headway.dev/nodes/runtime"
)

// dual starts a node whose pods have addresses of both families.
func dual(t *testing.T) *nodetest.Node {
	t.Helper()
	n := nodetest.Start(t)
	raw := [16]byte{0: 0xfd}
	if _, err := rand.Read(raw[1:7]); err != nil {
		t.Fatal(err)
	}
	n.NetConf.PodCIDR6 = netip.PrefixFrom(netip.AddrFrom16(raw), 64)
	n.NetConf.ClusterCIDR6 = n.NetConf.PodCIDR6
	n.Restart(t)
	return n
}

func bothIPs(t *testing.T, n *nodetest.Node, uid string) (four, six string) {
	t.Helper()
	p, err := n.Get(t.Context(), uid)
	if err != nil || p.Sandbox == nil || len(p.Sandbox.IPs) != 2 || !netip.MustParseAddr(p.Sandbox.IPs[0]).Is4() {
		t.Fatalf("pod %s = %+v, %v; want an address of IPv4 and one of IPv6", uid, p, err)
	}
	return p.Sandbox.IPs[0], p.Sandbox.IPs[1]
}

// TestPodsHaveBothFamilies: pods reach each other, the node, itself by a host port and the
// outside by IPv6, and the outside sees the node's address.
func TestPodsHaveBothFamilies(t *testing.T) {
	n, outside := dual(t), dual(t)
	web, asker, far := nodetest.Sandbox("web"), nodetest.Sandbox("asker"), nodetest.Sandbox("far")
	web.HostPorts = []noderuntime.HostPort{{Protocol: "TCP", HostPort: 28087, ContainerPort: 8080}}
	n.Run(t, web, "main", "serve")
	c := n.Run(t, asker, "main", "sleep")
	outside.Run(t, far, "main", "serve")
	four, six := bothIPs(t, n, web.UID)
	_, own := bothIPs(t, n, asker.UID)
	_, away := bothIPs(t, outside, far.UID)
	nodetest.Get(t, "http://["+six+"]:8080/")
	for to, want := range map[string]string{
		"[" + six + "]:8080": "[" + own + "]:",
		four + ":8080":       "",
		// The outside is another bridge of this machine, whose address it sees.
		"[" + away + "]:8080": "[" + outside.NetConf.PodCIDR6.Addr().Next().String() + "]:",
		"[" + n.NetConf.PodCIDR6.Addr().Next().String() + "]:28087": "[" + own + "]:",
	} {
		if got := execGet(t, n, c, "http://"+to+"/"); !strings.HasPrefix(got, "hello "+want) {
			t.Errorf("%s answers %q, want it to see %s", to, got, want)
		}
	}
	gateway := "[" + n.NetConf.PodCIDR6.Addr().Next().String() + "]:28087"
	if got := nodetest.Get(t, "http://"+gateway+"/hostname"); got != "web\n" {
		t.Errorf("host port = %q", got)
	}

	// The same addresses after a restart.
	n.Restart(t)
	if _, again := bothIPs(t, n, web.UID); again != six {
		t.Errorf("address after a restart = %s, want %s", again, six)
	}
	if err := n.RemoveSandbox(t.Context(), web.PodRef); err != nil {
		t.Fatal(err)
	}
	if resp, err := impatient().Do(nodetest.Request(t, "http://"+gateway+"/")); err == nil {
		resp.Body.Close()
		t.Error("the host port answers after its pod is gone")
	}
}

// TestHostPortOfTheNode6: a program that listens at IPv6 addresses alone keeps its port, too.
func TestHostPortOfTheNode6(t *testing.T) {
	n := dual(t)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	pod := nodetest.Sandbox("late")
	pod.HostPorts = []noderuntime.HostPort{{HostPort: int32(listener.Addr().(*net.TCPAddr).Port), ContainerPort: 8080, HostIP: "::1"}}
	if _, err := n.EnsureSandbox(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "is used by a program of the node") {
		t.Errorf("EnsureSandbox = %v, want the program to keep its port", err)
	}
}

// TestForward6: a machine that becomes a router keeps the routes that it has from others, and
// what its administrator has set stays.
func TestForward6(t *testing.T) {
	for name, before := range map[string]struct{ forwarding, accepts, want string }{
		"no router yet":          {"0", "1", "2"},
		"takes none from others": {"0", "0", "0"},
		"is one already":         {"1", "1", "1"},
	} {
		done := make(chan error, 1)
		var got [2]string
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			done <- func() error {
				if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
					return err
				}
				if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lan0"}}); err != nil {
					return err
				}
				const conf = "/proc/sys/net/ipv6/conf/"
				err := errors.Join(
					os.WriteFile(conf+"lan0/accept_ra", []byte(before.accepts), 0o644),
					os.WriteFile(conf+"all/forwarding", []byte(before.forwarding), 0o644),
					network.Forward6(),
				)
				for i, file := range []string{"lan0/accept_ra", "all/forwarding"} {
					data, wrong := os.ReadFile(conf + file)
					got[i], err = strings.TrimSpace(string(data)), errors.Join(err, wrong)
				}
				return err
			}()
		}()
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := [2]string{before.want, "1"}; got != want {
			t.Errorf("%s: accept_ra and forwarding are %v, want %v", name, got, want)
		}
	}
}
