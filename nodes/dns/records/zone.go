package records

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Config describes a zone.
type Config struct {
	// Domain is the cluster's, cluster.local for example.
	Domain string
	// Ranges are the addresses of pods and Services: questions for their names
	// are answered here, and nowhere else.
	Ranges []netip.Prefix
	// Server is the address of the name server.
	Server netip.Addr
}

// Zone is what is known of the cluster.
type Zone struct {
	domain string // in lower case, with a dot at its end
	ranges []netip.Prefix
	server netip.Addr

	mu         sync.RWMutex
	services   map[key]*service
	namespaces map[string]int // how many Services they have
	slices     map[key]*slice
	// byService are the slices of a Service, in the order of their names.
	byService map[key][]*slice
	// names are what has an address: one entry for each time.
	names map[netip.Addr][]named
	// pods are the addresses of pods in a namespace, and how many sources tell of them.
	pods          map[podAddress]int
	podNamespaces map[string]int
}

type key struct{ namespace, name string }

// named is a Service whose cluster IP an address is, or that has it as an endpoint: then
// it is this one of a slice.
type named struct {
	service key
	slice   *slice
	at      int
}

type podAddress struct {
	namespace string
	addr      netip.Addr
}

type service struct {
	ips      []netip.Addr // of the cluster; none if it is headless
	external string
	ports    []port
	// unready says that endpoints count that are not ready.
	unready bool
}

func (s *service) headless() bool { return s.external == "" && len(s.ips) == 0 }

type port struct {
	name, proto string
	number      uint16
}

type slice struct {
	name      string
	service   key
	ports     []port
	endpoints []endpoint
}

type endpoint struct {
	addr  netip.Addr
	host  string // "" if it has none
	ready bool
	pod   bool
}

// NewZone returns a zone without names.
func NewZone(cfg Config) *Zone {
	z := &Zone{
		domain: dns.CanonicalName(cfg.Domain), server: cfg.Server,
		services: map[key]*service{}, namespaces: map[string]int{}, slices: map[key]*slice{}, byService: map[key][]*slice{},
		names: map[netip.Addr][]named{}, pods: map[podAddress]int{}, podNamespaces: map[string]int{},
	}
	for _, r := range cfg.Ranges {
		if r.IsValid() {
			z.ranges = append(z.ranges, r.Masked())
		}
	}
	return z
}

// Domain returns the zone's name, with a dot at its end.
func (z *Zone) Domain() string { return z.domain }

// SetService takes up a Service or its change.
func (z *Zone) SetService(svc *corev1.Service) {
	s := &service{unready: svc.Spec.PublishNotReadyAddresses}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		s.external = dns.Fqdn(svc.Spec.ExternalName)
	} else {
		ips := svc.Spec.ClusterIPs
		if len(ips) == 0 {
			ips = []string{svc.Spec.ClusterIP}
		}
		for _, text := range ips {
			if ip, err := netip.ParseAddr(text); err == nil { // "None" is none
				s.ips = append(s.ips, ip.Unmap())
			}
		}
		for _, p := range svc.Spec.Ports {
			if p.Name != "" && len(s.ips) > 0 {
				s.ports = append(s.ports, port{strings.Clone(p.Name), protocol(p.Protocol), uint16(p.Port)})
			}
		}
	}
	k := key{svc.Namespace, svc.Name}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dropService(k)
	z.services[k] = s
	z.namespaces[k.namespace]++
	for _, ip := range s.ips {
		z.names[ip] = append(z.names[ip], named{service: k})
	}
}

// DeleteService forgets a Service.
func (z *Zone) DeleteService(namespace, name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dropService(key{namespace, name})
}

func (z *Zone) dropService(k key) {
	s := z.services[k]
	if s == nil {
		return
	}
	delete(z.services, k)
	count(z.namespaces, k.namespace, -1)
	for _, ip := range s.ips {
		z.unname(ip, named{service: k})
	}
}

// KeepServices forgets all Services but those.
func (z *Zone) KeepServices(keep func(namespace, name string) bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for k := range z.services {
		if !keep(k.namespace, k.name) {
			z.dropService(k)
		}
	}
}

// SetSlice takes up an EndpointSlice or its change.
func (z *Zone) SetSlice(es *discoveryv1.EndpointSlice) {
	owner := es.Labels[discoveryv1.LabelServiceName]
	k := key{es.Namespace, es.Name}
	if owner == "" || es.AddressType == discoveryv1.AddressTypeFQDN {
		z.DeleteSlice(k.namespace, k.name)
		return
	}
	s := &slice{name: es.Name, service: key{es.Namespace, owner}}
	for _, p := range es.Ports {
		if p.Name == nil || *p.Name == "" || p.Port == nil {
			continue
		}
		proto := corev1.ProtocolTCP
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		s.ports = append(s.ports, port{*p.Name, protocol(proto), uint16(*p.Port)})
	}
	s.endpoints = make([]endpoint, 0, len(es.Endpoints))
	for _, e := range es.Endpoints {
		for _, text := range e.Addresses[:min(1, len(e.Addresses))] { // consumers may use the first alone
			addr, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			host := ""
			if e.Hostname != nil {
				host = strings.ToLower(*e.Hostname)
			}
			s.endpoints = append(s.endpoints, endpoint{
				addr: addr.Unmap(), host: host, ready: e.Conditions.Ready == nil || *e.Conditions.Ready,
				pod: e.TargetRef != nil && e.TargetRef.Kind == "Pod",
			})
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dropSlice(k)
	z.slices[k] = s
	list := z.byService[s.service]
	at, _ := slices.BinarySearchFunc(list, s.name, func(have *slice, name string) int { return strings.Compare(have.name, name) })
	z.byService[s.service] = slices.Insert(list, at, s)
	for i, e := range s.endpoints {
		z.names[e.addr] = append(z.names[e.addr], named{s.service, s, i})
		if e.pod {
			z.pod(s.service.namespace, e.addr, 1)
		}
	}
}

// DeleteSlice forgets an EndpointSlice.
func (z *Zone) DeleteSlice(namespace, name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dropSlice(key{namespace, name})
}

func (z *Zone) dropSlice(k key) {
	s := z.slices[k]
	if s == nil {
		return
	}
	delete(z.slices, k)
	if rest := slices.DeleteFunc(z.byService[s.service], func(have *slice) bool { return have == s }); len(rest) > 0 {
		z.byService[s.service] = rest
	} else {
		delete(z.byService, s.service)
	}
	for i, e := range s.endpoints {
		z.unname(e.addr, named{s.service, s, i})
		if e.pod {
			z.pod(s.service.namespace, e.addr, -1)
		}
	}
}

// KeepSlices forgets all EndpointSlices but those.
func (z *Zone) KeepSlices(keep func(namespace, name string) bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for k := range z.slices {
		if !keep(k.namespace, k.name) {
			z.dropSlice(k)
		}
	}
}

// AddPod tells of an address of a pod, once more or, by -1, once less.
func (z *Zone) AddPod(namespace string, addr netip.Addr, by int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.pod(namespace, addr.Unmap(), by)
}

func (z *Zone) pod(namespace string, addr netip.Addr, by int) {
	count(z.pods, podAddress{namespace, addr}, by)
	count(z.podNamespaces, namespace, by)
}

func (z *Zone) unname(addr netip.Addr, n named) {
	list := z.names[addr]
	if i := slices.Index(list, n); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(z.names, addr)
		return
	}
	z.names[addr] = list
}

func count[K comparable](m map[K]int, k K, by int) {
	if m[k] += by; m[k] <= 0 {
		delete(m, k)
	}
}

func protocol(p corev1.Protocol) string {
	if p == "" {
		p = corev1.ProtocolTCP
	}
	return strings.ToLower(string(p))
}
