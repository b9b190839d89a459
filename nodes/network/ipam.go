package network

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Lease records one pod's place in the network.
type Lease struct {
	Pod string
	IP  netip.Addr
	// IP6 is the pod's IPv6 address; not valid where pods have none.
	IP6   netip.Addr `json:",omitzero"`
	Ports []HostPort `json:",omitempty"`
	// NetNS is the path of the pod's network namespace.
	NetNS string `json:",omitempty"`
}

// ipam hands out the addresses of one prefix, in turn: an address is used
// again as late as possible, so that what still remembers the old owner does
// not reach the new one.
type ipam struct {
	prefix netip.Prefix
	// six is the range of the IPv6 addresses, at most /96: not valid if pods get none.
	six    netip.Prefix
	leases map[string]Lease // by pod
	used   map[netip.Addr]bool
	last   netip.Addr
}

func newIPAM(leases []Lease) *ipam {
	a := &ipam{leases: map[string]Lease{}, used: map[netip.Addr]bool{}}
	for _, l := range leases {
		a.leases[l.Pod] = l
		a.used[l.IP] = true
		if !a.last.IsValid() || a.last.Less(l.IP) {
			a.last = l.IP
		}
	}
	return a
}

// gateway is the first address of the prefix: the bridge's own.
func (a *ipam) gateway() netip.Addr { return a.prefix.Masked().Addr().Next() }

// sixth is the IPv6 address of the pod with an IPv4 address: the one with the same place in
// the range, so that what is free and how late an address is used again holds for both.
func (a *ipam) sixth(ip netip.Addr) netip.Addr {
	if !a.six.IsValid() {
		return netip.Addr{}
	}
	own, base, out := ip.As4(), a.prefix.Masked().Addr().As4(), a.six.Masked().Addr().As16()
	binary.BigEndian.PutUint32(out[12:], binary.BigEndian.Uint32(own[:])-binary.BigEndian.Uint32(base[:]))
	return netip.AddrFrom16(out)
}

// take returns the pod's lease with the given ports, making one if needed.
func (a *ipam) take(pod, netns string, ports []HostPort) (Lease, error) {
	l, ok := a.leases[pod]
	if !ok {
		ip, err := a.next()
		if err != nil {
			return Lease{}, err
		}
		l = Lease{Pod: pod, IP: ip, IP6: a.sixth(ip)}
	}
	l.Ports, l.NetNS = slices.Clone(ports), netns
	a.leases[pod] = l
	a.used[l.IP] = true
	return l, nil
}

// next finds the free address that follows the one given last.
func (a *ipam) next() (netip.Addr, error) {
	first := a.gateway().Next()
	start := first
	if a.last.IsValid() && a.prefix.Contains(a.last) && first.Less(a.last.Next()) {
		start = a.last.Next()
	}
	ip := start
	for {
		// The last address of the prefix is its broadcast address.
		if !a.prefix.Contains(ip) || !a.prefix.Contains(ip.Next()) {
			ip = first
		} else if !a.used[ip] {
			a.last = ip
			return ip, nil
		} else {
			ip = ip.Next()
		}
		if ip == start {
			if !a.used[ip] && a.prefix.Contains(ip.Next()) && a.prefix.Contains(ip) {
				a.last = ip
				return ip, nil
			}
			return netip.Addr{}, fmt.Errorf("no free address in podCIDR %s: %d pods have one", a.prefix, len(a.leases))
		}
	}
}

func (a *ipam) release(pod string) {
	if l, ok := a.leases[pod]; ok {
		delete(a.used, l.IP)
		delete(a.leases, pod)
	}
}

// restore undoes release.
func (a *ipam) restore(l Lease) {
	a.leases[l.Pod] = l
	a.used[l.IP] = true
}

// sorted returns the leases by address, so that the rules come out the same
// every time.
func (a *ipam) sorted() []Lease {
	out := make([]Lease, 0, len(a.leases))
	for _, l := range a.leases {
		out = append(out, l)
	}
	slices.SortFunc(out, func(x, y Lease) int { return cmp.Or(x.IP.Compare(y.IP), cmp.Compare(x.Pod, y.Pod)) })
	return out
}

func leaseFile(dir, pod string) string { return filepath.Join(dir, pod+".json") }

// loadLeases reads the lease files. One that cannot be read is left out with a
// warning: it must not keep the other pods from starting.
func loadLeases(dir string, log *slog.Logger) ([]Lease, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read leases: %w", err)
	}
	var out []Lease
	for _, e := range entries {
		pod, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			continue
		}
		var l Lease
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil {
			err = json.Unmarshal(data, &l)
		}
		if err != nil || l.Pod != pod || !l.IP.IsValid() {
			log.Warn("ignoring unreadable network lease", "pod", pod, "err", err)
			continue
		}
		out = append(out, l)
	}
	return out, nil
}

// saveLease writes by renaming, so that a crash leaves the old file or the new.
func saveLease(dir string, l Lease) error {
	data, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode lease: %w", err)
	}
	file := leaseFile(dir, l.Pod)
	if err := os.WriteFile(file+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	return nil
}

func removeLease(dir, pod string) error {
	if err := os.Remove(leaseFile(dir, pod)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove lease: %w", err)
	}
	return nil
}
