package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/nodeconfig"
)

// host is a network namespace on the test's network, which is a bridge in another one.
type host struct {
	ns netns.NsHandle
	ip string
}

func (h host) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := netns.Set(h.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func space(t *testing.T) netns.NsHandle {
	t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		done <- made{ns, err}
	}()
	m := <-done
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.ns.Close() })
	return m.ns
}

// network makes hosts on one bridge.
func network(t *testing.T, ips ...string) []host {
	t.Helper()
	middle := host{ns: space(t)}
	if err := middle.do(func() error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		return errors.Join(netlink.LinkAdd(br), netlink.LinkSetUp(br))
	}); err != nil {
		t.Fatal(err)
	}
	var out []host
	for i, ip := range ips {
		h := host{space(t), ip}
		out = append(out, h)
		if err := middle.do(func() error {
			br, err := netlink.LinkByName("br0")
			if err != nil {
				return err
			}
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprint("v", i), MasterIndex: br.Attrs().Index}, PeerName: "lan0", PeerNamespace: netlink.NsFd(h.ns)}
			return errors.Join(netlink.LinkAdd(veth), netlink.LinkSetUp(veth))
		}); err != nil {
			t.Fatal(err)
		}
		if err := h.do(func() error {
			lan, err := netlink.LinkByName("lan0")
			if err != nil {
				return err
			}
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(ip + "/24")
			if err != nil {
				return err
			}
			return errors.Join(netlink.AddrAdd(lan, addr), netlink.LinkSetUp(lan), netlink.LinkSetUp(lo))
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

const vip = "10.9.0.240"

func service(by string) *corev1.Service {
	svc := &corev1.Service{}
	svc.Namespace, svc.Name, svc.Spec.Type = "d", "web", corev1.ServiceTypeLoadBalancer
	svc.Annotations = map[string]string{nodeconfig.AnnouncedBy: by}
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip}}
	return svc
}

// An address answers on the node that is chosen for it, and a neighbour that has talked to
// the node before notices that it has moved.
func TestAddressMoves(t *testing.T) {
	hosts := network(t, "10.9.0.1", "10.9.0.2", "10.9.0.9")
	client := hosts[2]
	var nodes []*Announcer
	for i, name := range []string{"one", "two"} {
		nodes = append(nodes, New(Config{NodeName: name, IP: netip.MustParseAddr(hosts[i].ip), Link: "hwtest-lb", Log: slog.New(slog.DiscardHandler)}))
		var ln net.Listener
		if err := hosts[i].do(func() (err error) {
			ln, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp4", ":80")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, name)
				c.Close()
			}
		}()
	}
	choose := func(by string) {
		t.Helper()
		for i, n := range nodes {
			if err := (store{n}).Replace([]any{service(by)}, ""); err != nil {
				t.Fatal(err)
			}
			if err := hosts[i].do(n.look); err != nil {
				t.Fatal(err)
			}
		}
	}
	answers := func() (by string) {
		t.Helper()
		if err := client.do(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", vip+":80")
			if err != nil {
				return err
			}
			defer c.Close()
			buf := make([]byte, 10)
			n, err := c.Read(buf)
			by = string(buf[:n])
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return by
	}
	neighbour := func() (hardware string) {
		t.Helper()
		if err := client.do(func() error {
			all, err := netlink.NeighList(0, netlink.FAMILY_V4)
			for _, n := range all {
				if n.IP.String() == vip {
					hardware = n.HardwareAddr.String()
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return hardware
	}
	before := ""
	for _, by := range []string{"one", "two", "one"} {
		if before != "" {
			// The kernel takes no other hardware address within a second of the last.
			<-time.After(1100 * time.Millisecond)
		}
		choose(by)
		if before != "" && neighbour() == before {
			t.Errorf("the client still has %s for the address when %s is chosen", before, by)
		}
		if got := answers(); got != by {
			t.Errorf("answered by %q, want %q", got, by)
		}
		before = neighbour()
	}
	choose("")
	for i := range nodes {
		if err := hosts[i].do(func() error {
			if _, err := netlink.LinkByName("hwtest-lb"); err == nil {
				return errors.New("the link is left")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}

// Before the API has told of the Services, what a former run left stays.
func TestKeepsUntilKnown(t *testing.T) {
	h := network(t, "10.9.0.1")[0]
	cfg := Config{NodeName: "one", IP: netip.MustParseAddr(h.ip), Link: "hwtest-lb", Log: slog.New(slog.DiscardHandler)}
	former, next := New(cfg), New(cfg)
	if err := (store{former}).Replace([]any{service("one")}, ""); err != nil {
		t.Fatal(err)
	}
	there := func() (is bool) {
		t.Helper()
		if err := h.do(func() error {
			link, err := netlink.LinkByName("hwtest-lb")
			if errors.As(err, &netlink.LinkNotFoundError{}) {
				return nil
			}
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
			is = len(addrs) == 1 && addrs[0].IP.String() == vip
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return is
	}
	for _, step := range []struct {
		what string
		do   func() error
		want bool
	}{
		{"the former run", former.look, true},
		{"the next one, which knows nothing", next.look, true},
		{"a list without it", func() error { return errors.Join((store{next}).Replace(nil, ""), next.look()) }, false},
		{"it is there again", func() error { return errors.Join((store{next}).Add(service("one")), next.look()) }, true},
		{"it is deleted", func() error { return errors.Join((store{next}).Delete(service("one")), next.look()) }, false},
	} {
		if err := h.do(step.do); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if there() != step.want {
			t.Errorf("%s: the address is there: %t, want %t", step.what, !step.want, step.want)
		}
	}
}

// A Service of another controller's class is not answered for, whatever it says.
func TestForeignClass(t *testing.T) {
	for class, want := range map[string]int{"": 1, nodeconfig.BalancerClass: 1, "example.com/other": 0} {
		svc := service("one")
		if class != "" {
			svc.Spec.LoadBalancerClass = &class
		}
		if got := addresses(svc, "one"); len(got) != want {
			t.Errorf("class %q: %v, want %d addresses", class, got, want)
		}
	}
}
