package service

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// sourceRangesAnnotation is the older form of spec.loadBalancerSourceRanges.
const sourceRangesAnnotation = corev1.AnnotationLoadBalancerSourceRangesKey

// Decide decides what the node does for one Service, whose slices are given in
// any order. zone is the node's zone, empty if it has none.
func Decide(cfg Config, zone string, svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) *Decision {
	d := &Decision{Name: types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, UID: svc.UID, Created: svc.CreationTimestamp.Time}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return d
	}
	clusterIPs := svc.Spec.ClusterIPs
	if len(clusterIPs) == 0 {
		clusterIPs = []string{svc.Spec.ClusterIP}
	}
	endpointSlices = slices.SortedFunc(slices.Values(endpointSlices), func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	local := map[netip.Addr]bool{}
	for _, text := range clusterIPs {
		ip, err := netip.ParseAddr(text) // "None" and "" fail
		if err != nil || !slices.Contains(cfg.Families(), FamilyOf(ip)) {
			continue
		}
		for _, port := range svc.Spec.Ports {
			all := usable(endpointSlices, port, FamilyOf(ip))
			d.Ports = append(d.Ports, decidePort(cfg, zone, svc, ip, port, all))
			for _, e := range on(cfg.NodeName, all) {
				if e.ready {
					local[e.addr.Addr()] = true
				}
			}
		}
	}
	if n := svc.Spec.HealthCheckNodePort; n > 0 && svc.Spec.Type == corev1.ServiceTypeLoadBalancer && externalLocal(svc) && len(d.Ports) > 0 {
		d.Health = &Health{Port: uint16(n), Local: len(local)}
	}
	return d
}

func externalLocal(svc *corev1.Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func decidePort(cfg Config, zone string, svc *corev1.Service, ip netip.Addr, port corev1.ServicePort, all []endpoint) Port {
	proto := strings.ToLower(string(defaultTCP(port.Protocol)))
	p := Port{
		ID:   Hash(svc.Namespace, svc.Name, port.Name, proto, fmt.Sprint(port.Port)),
		Name: svc.Namespace + "/" + svc.Name, Family: FamilyOf(ip), Protocol: proto,
		ClusterIP: ip, Number: uint16(port.Port), NodePort: uint16(port.NodePort),
		ExternalIPs: addresses(FamilyOf(ip), svc.Spec.ExternalIPs), ExternalLocal: externalLocal(svc), Affinity: affinity(svc),
	}
	if port.Name != "" {
		p.Name += ":" + port.Name
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		p.LoadBalancerIPs = addresses(p.Family, balancers(svc))
		p.SourceRanges, p.Restricted = sourceRanges(p.Family, svc)
		p.SourceRanges = append(p.SourceRanges, itself(cfg, &p)...)
	}
	// The endpoints of the whole cluster, and those of this node: one that
	// terminates here may be the best of this node while others are ready
	// elsewhere.
	cluster, local := prefer(near(cfg.NodeName, zone, all)), prefer(on(cfg.NodeName, all))
	p.Cluster, p.Serving = Target{Endpoints: addrs(cluster)}, addrs(all)
	pick := func(onlyLocal bool) Target {
		switch {
		case !onlyLocal:
			return p.Cluster
		case len(all) > 0:
			return Target{Endpoints: addrs(local), Otherwise: Drop}
		}
		return Target{}
	}
	p.Internal = pick(ptr.Deref(svc.Spec.InternalTrafficPolicy, "") == corev1.ServiceInternalTrafficPolicyLocal)
	p.External = pick(p.ExternalLocal)
	for _, e := range slices.Concat(on(cfg.NodeName, cluster), local) {
		p.Hairpin = append(p.Hairpin, e.addr.Addr())
	}
	slices.SortFunc(p.Hairpin, netip.Addr.Compare)
	p.Hairpin = slices.Compact(p.Hairpin)
	return p
}

func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// balancers are the load balancer's addresses at which the node has to answer:
// in the mode Proxy, the load balancer sends to node ports or pods instead.
func balancers(svc *corev1.Service) []string {
	var out []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IP != "" && ptr.Deref(in.IPMode, corev1.LoadBalancerIPModeVIP) == corev1.LoadBalancerIPModeVIP {
			out = append(out, in.IP)
		}
	}
	return out
}

func addresses(f Family, texts []string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		if ip, err := netip.ParseAddr(text); err == nil && FamilyOf(ip) == f && !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}

// sourceRanges are whom the load balancer's addresses serve. A Service that
// names ranges of the other family only serves nobody of this one.
func sourceRanges(f Family, svc *corev1.Service) (ranges []netip.Prefix, restricted bool) {
	texts := svc.Spec.LoadBalancerSourceRanges
	if a := strings.TrimSpace(svc.Annotations[sourceRangesAnnotation]); len(texts) == 0 && a != "" {
		texts = strings.Split(a, ",")
	}
	for _, text := range texts {
		r, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			restricted = true // rather nobody than everybody
			continue
		}
		if restricted = true; FamilyOf(r.Addr()) != f {
			continue
		}
		if r.Bits() == 0 {
			return nil, false
		}
		ranges = append(ranges, r.Masked())
	}
	slices.SortFunc(ranges, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return slices.Compact(ranges), restricted
}

// itself are the load balancer's own addresses, if the node is served: where it
// holds such an address, its connections to it come from there.
func itself(cfg Config, p *Port) []netip.Prefix {
	if !slices.ContainsFunc(p.SourceRanges, func(r netip.Prefix) bool { return slices.ContainsFunc(cfg.NodeIPs, r.Contains) }) {
		return nil
	}
	var out []netip.Prefix
	for _, ip := range p.LoadBalancerIPs {
		if !slices.ContainsFunc(p.SourceRanges, func(r netip.Prefix) bool { return r.Contains(ip) }) {
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return out
}

// Hash makes a short name that is the same on every node.
func Hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base32.StdEncoding.EncodeToString(sum[:])[:16]
}
