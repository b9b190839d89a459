package admit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// Kubernetes' own messages of its address and port allocators.
var (
	errFull          = errors.New("range is full")
	errIPAllocated   = errors.New("provided IP is already allocated")
	errPortAllocated = errors.New("provided port is already allocated")
)

// addresses numbers the addresses of a range: 0 is the network's own, 1 to
// size can be given out.
type addresses struct {
	prefix netip.Prefix
	size   int
}

// mostAddresses bounds the part of a range that is given out.
const mostAddresses = 1 << 16

func newAddresses(prefix netip.Prefix) (addresses, error) {
	if !prefix.IsValid() || !prefix.Addr().Is4() {
		return addresses{}, fmt.Errorf("service CIDR %s: must be an IPv4 range, such as 10.96.0.0/16", prefix)
	}
	bits := 32 - prefix.Bits()
	if bits < 2 {
		return addresses{}, fmt.Errorf("service CIDR %s: must hold at least two addresses besides the network's and the broadcast address", prefix)
	}
	size := math.MaxInt32
	if bits < 31 {
		size = 1<<bits - 2
	}
	return addresses{prefix: prefix.Masked(), size: min(size, mostAddresses)}, nil
}

func newAddresses6(prefix netip.Prefix) (addresses, error) {
	if !prefix.Addr().Is6() || prefix.Addr().Is4In6() {
		return addresses{}, fmt.Errorf("service CIDR %s: must be an IPv6 range, such as fd00:43::/108", prefix)
	}
	bits := 128 - prefix.Bits()
	if bits < 2 || bits > 20 {
		return addresses{}, fmt.Errorf("service CIDR %s: must have /108 to /126", prefix)
	}
	return addresses{prefix: prefix.Masked(), size: min(1<<bits-1, mostAddresses)}, nil
}

func (a addresses) family() corev1.IPFamily {
	if a.prefix.Addr().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// at is the address of number i.
func (a addresses) at(i int) netip.Addr {
	if a.prefix.Addr().Is6() {
		raw := a.prefix.Addr().As16()
		binary.BigEndian.PutUint32(raw[12:], binary.BigEndian.Uint32(raw[12:])+uint32(i))
		return netip.AddrFrom16(raw)
	}
	b := a.prefix.Addr().As4()
	n := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	n += uint32(i)
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// contains reports whether a Service may ask for ip.
func (a addresses) contains(ip netip.Addr) bool {
	if !a.prefix.Contains(ip) || ip == a.prefix.Addr() {
		return false
	}
	if ip.Is6() {
		return true
	}
	return a.prefix.Contains(ip.Next()) // else it is the broadcast address
}

// scan looks for a free number in 1..size, from start on in the upper band
// first: as in Kubernetes, the lower band is left to those who ask for a
// certain number, as long as the upper band has one.
func scan(size, band int, start uint64, free func(int) bool) (int, error) {
	upper := size - band
	for i := range upper {
		n := band + 1 + int((start+uint64(i))%uint64(upper))
		if free(n) {
			return n, nil
		}
	}
	for n := 1; n <= band; n++ {
		if free(n) {
			return n, nil
		}
	}
	return 0, errFull
}

// band is the size of the lower band of a range: a part of it, between least
// and most.
func band(size, part, least, most int) int {
	if size <= least {
		return 0
	}
	return min(max(size/part, least), most)
}
