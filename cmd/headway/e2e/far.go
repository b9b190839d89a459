package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Far has every packet between a machine and the others take so long in each direction,
// until the test ends or Near is called.
//
// The machine's link leaves the router's bridge. In its place is one end of another link,
// and what arrives at the other end or from the machine is carried over, late.
func (m *Machines) Far(name string, delay time.Duration) {
	m.tb.Helper()
	bridge := fmt.Sprintf("br%d", places[name].network)
	for _, args := range []string{
		"link add far-" + name + " type veth peer name by-" + name,
		"link set by-" + name + " master " + bridge + " up",
		"link set far-" + name + " up",
		"link set " + name + " nomaster",
	} {
		command(m.tb, "ip", append([]string{"-n", m.router}, strings.Fields(args)...)...)
	}
	// The router itself has no part in what it carries: it would answer for its addresses at
	// once, wherever it is asked.
	for _, link := range []string{name, "far-" + name} {
		command(m.tb, "nsenter", "--net=/run/netns/"+m.router, "sysctl", "-qw", "net.ipv4.conf."+link+".arp_ignore=8", "net.ipv6.conf."+link+".disable_ipv6=1")
	}
	var ends [2]*os.File
	err := within("/run/netns/"+m.router, func() (err error) {
		for i, link := range []string{name, "far-" + name} {
			if ends[i], err = frames(link); err != nil {
				return fmt.Errorf("frames of %s: %w", link, err)
			}
		}
		return nil
	})
	if err != nil {
		m.tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.tb.Context()))
	var carriers sync.WaitGroup
	for i := range ends {
		carriers.Go(func() {
			if err := carry(ctx, ends[1-i], ends[i], delay); err != nil {
				m.tb.Errorf("carry frames of %s: %v", name, err)
			}
		})
	}
	end := sync.OnceFunc(func() {
		cancel()
		for _, f := range ends {
			f.Close()
		}
		carriers.Wait()
	})
	m.tb.Cleanup(end)
	m.far[name] = end
}

// Near ends Far.
func (m *Machines) Near(name string) {
	m.tb.Helper()
	m.far[name]()
	delete(m.far, name)
	command(m.tb, "ip", "-n", m.router, "link", "delete", "far-"+name)
	command(m.tb, "ip", "-n", m.router, "link", "set", name, "master", fmt.Sprintf("br%d", places[name].network))
}

// frames are those that arrive at a link, and those that are written leave by it. Each has
// a virtio_net_hdr before it: by it the kernel knows of checksums that are not computed
// yet, and of segments that are to be cut, as veth hands both on.
func frames(link string) (*os.File, error) {
	iface, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	const all = 0x0300 // ETH_P_ALL in the order of the network
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}),
	)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), link), nil
}

// carry writes what it reads, late, until ctx ends and the files are closed.
func carry(ctx context.Context, to, from *os.File, delay time.Duration) error {
	type frame struct {
		data []byte
		due  time.Time
	}
	const most = 20_000 // on the way; more are lost, as on any link
	way := make(chan frame, most)
	var writer sync.WaitGroup
	defer writer.Wait()
	defer close(way)
	writer.Go(func() {
		for f := range way {
			select {
			case <-ctx.Done():
			case <-time.After(time.Until(f.due)):
				_, _ = to.Write(f.data) // a link that is down loses it
			}
		}
	})
	buf := make([]byte, 1<<17)
	for {
		n, err := from.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENETDOWN) { // once, when the link goes down
			continue
		}
		if err != nil {
			return err
		}
		select {
		case way <- frame{append([]byte(nil), buf[:n]...), time.Now().Add(delay)}:
		default:
		}
	}
}
