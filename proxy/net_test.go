package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

const inside = "HEADWAY_PROXY_TEST_NETNS"

// The tests run in a network namespace of the test process's own, so that they
// change no rule of the machine.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests use iptables in a network namespace of their own: run them as root")
		os.Exit(1)
	}
	if os.Getenv(inside) == "" {
		cmd := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := makeNode(); err != nil {
		fmt.Fprintln(os.Stderr, "set up the test network:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

const (
	nodeIP   = "192.0.2.1"  // towards machines outside of the cluster
	bridgeIP = "10.244.0.1" // towards the pods
	nodeIP6  = "2001:db8::1"
	bridge   = "hwproxytest0" // alone in its namespace
)

func makeNode() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	// A node that sends redirects would have no refusals left for the same client:
	// the kernel limits both together.
	for _, which := range []string{"all", "default"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+which+"/send_redirects", []byte("0"), 0o644); err != nil {
			return err
		}
	}
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridge}}
	return errors.Join(netlink.LinkSetUp(lo), netlink.LinkAdd(br), addAddr(br, bridgeIP), addAddr(br, v6(bridgeIP)), netlink.LinkSetUp(br))
}

func addAddr(link netlink.Link, ip string) error {
	if strings.Contains(ip, ":") {
		// Without duplicate address detection the address is there at once.
		return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD})
	}
	return netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(ip), Mask: net.CIDRMask(24, 32)}})
}

// v6 is the IPv6 address of what has the IPv4 address ip.
func v6(ip string) string {
	last := ip[strings.LastIndex(ip, ".")+1:]
	if strings.HasPrefix(ip, "192.") {
		return "2001:db8::" + last
	}
	return "fd00:244::" + last
}

// host is a network namespace with one address: a pod or a machine outside.
type host struct {
	ip string
	ns netns.NsHandle
}

// newPod connects a pod to the bridge.
func newPod(tb testing.TB, ip string) *host {
	tb.Helper()
	h := newHost(tb, ip, bridgeIP)
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		tb.Fatal(err)
	}
	link := h.link(tb)
	if err := errors.Join(netlink.LinkSetMaster(link, br), netlink.LinkSetHairpin(link, true)); err != nil {
		tb.Fatalf("connect pod %s: %v", ip, err)
	}
	return h
}

// newOutside makes a machine beside the node.
func newOutside(tb testing.TB) *host {
	tb.Helper()
	h := newHost(tb, "192.0.2.2", nodeIP)
	if err := errors.Join(addAddr(h.link(tb), nodeIP), addAddr(h.link(tb), nodeIP6)); err != nil {
		tb.Fatal(err)
	}
	return h
}

func (h *host) link(tb testing.TB) netlink.Link {
	tb.Helper()
	l, err := netlink.LinkByName("v" + strings.ReplaceAll(h.ip, ".", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func newHost(tb testing.TB, ip, gateway string) *host {
	tb.Helper()
	h := &host{ip: ip}
	err := onThread(func() error {
		node, err := netns.Get()
		if err != nil {
			return err
		}
		defer node.Close()
		if h.ns, err = netns.New(); err != nil {
			return err
		}
		return netns.Set(node)
	})
	if err != nil {
		tb.Fatalf("make a network namespace: %v", err)
	}
	name := "v" + strings.ReplaceAll(ip, ".", "")
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(h.ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		tb.Fatalf("add link %s: %v", name, err)
	}
	tb.Cleanup(func() {
		if err := errors.Join(netlink.LinkDel(veth), h.ns.Close()); err != nil {
			tb.Errorf("remove host %s: %v", ip, err)
		}
	})
	err = errors.Join(netlink.LinkSetUp(veth), h.do(func() error {
		lo, err1 := netlink.LinkByName("lo")
		eth, err2 := netlink.LinkByName("eth0")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetUp(lo), addAddr(eth, ip), addAddr(eth, v6(ip)), netlink.LinkSetUp(eth),
			netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}), netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(v6(gateway))}))
	}))
	if err != nil {
		tb.Fatalf("configure host %s: %v", ip, err)
	}
	return h
}

// onThread runs f on a thread of its own, which ends with it unless f left it
// in the namespace where it began.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f() // still locked when the goroutine ends, so the thread ends
	}()
	return <-done
}

// do runs f in the host's namespace; sockets it makes stay there. A nil host
// is the node.
func (h *host) do(f func() error) error {
	if h == nil {
		return f()
	}
	return onThread(func() error {
		if err := netns.Set(h.ns); err != nil {
			return err
		}
		return f()
	})
}

// serve answers TCP connections and UDP datagrams to port with "name client",
// and every further line or datagram likewise.
func (h *host) serve(tb testing.TB, name string, port int) {
	tb.Helper()
	h.serveOn(tb, name, fmt.Sprintf("%s:%d", h.ip, port))
	h.serveOn(tb, name, fmt.Sprintf("[%s]:%d", v6(h.ip), port))
}

func (h *host) serveOn(tb testing.TB, name, addr string) {
	tb.Helper()
	var ln net.Listener
	var udp net.PacketConn
	var listen net.ListenConfig
	if err := h.do(func() (err error) {
		if ln, err = listen.Listen(tb.Context(), "tcp", addr); err == nil {
			udp, err = listen.ListenPacket(tb.Context(), "udp", addr)
		}
		return err
	}); err != nil {
		tb.Fatalf("serve on %s: %v", addr, err)
	}
	var wg sync.WaitGroup
	open := connSet{conns: map[net.Conn]bool{}}
	tb.Cleanup(func() {
		ln.Close()
		udp.Close()
		// What a client did not close would end only with its network, if at all.
		open.close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if !open.add(c) {
				return
			}
			wg.Go(func() {
				defer c.Close()
				in := bufio.NewScanner(c)
				for in.Scan() {
					from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
					fmt.Fprintf(c, "%s %s\n", name, from)
				}
			})
		}
	})
	wg.Go(func() {
		buf := make([]byte, 100)
		for {
			_, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			fmt.Fprint(&packetWriter{udp, from}, name)
		}
	})
}

// connSet is the connections that a server has accepted.
type connSet struct {
	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// add takes a connection; after close it closes it and returns false.
func (s *connSet) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *connSet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
}

type packetWriter struct {
	conn net.PacketConn
	to   net.Addr
}

func (w *packetWriter) Write(p []byte) (int, error) { return w.conn.WriteTo(p, w.to) }

func (h *host) dial(network, addr string) (c net.Conn, err error) {
	return h.dialFor(3*time.Second, network, addr)
}

func (h *host) dialFor(timeout time.Duration, network, addr string) (c net.Conn, err error) {
	err = h.do(func() error {
		c, err = (&net.Dialer{Timeout: timeout}).DialContext(context.Background(), network, addr)
		return err
	})
	return c, err
}

// ask makes a connection and returns who answered, and for whom it took us.
func (h *host) ask(addr string) (server, client string, err error) {
	return h.askFor(3*time.Second, addr)
}

// try is ask for what is asked again: a connection from before the rules came
// would take long to fail.
func (h *host) try(addr string) (server, client string, err error) {
	return h.askFor(time.Second, addr)
}

func (h *host) askFor(timeout time.Duration, addr string) (server, client string, err error) {
	c, err := h.dialFor(timeout, "tcp", addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	return askOn(c)
}

func askOn(c net.Conn) (server, client string, err error) {
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", "", err
	}
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		return "", "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	server, client, _ = strings.Cut(strings.TrimSpace(line), " ")
	return server, client, err
}

// eventually waits for an effect.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tb.Log("waiting until " + what)
	if err := wait.PollUntilContextTimeout(tb.Context(), 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return ok(), nil }); err != nil {
		tb.Fatalf("waiting until %s: %v", what, err)
	}
}
