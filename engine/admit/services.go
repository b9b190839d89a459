package admit

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/object"
)

var (
	serviceKind   = schema.GroupKind{Kind: "Service"}
	kubernetesKey = object.Key{GroupKind: serviceKind, Namespace: corev1.NamespaceDefault, Name: "kubernetes"}
)

// services gives Services their cluster IPs and node ports.
type services struct {
	// ranges are those of the cluster IPs, of one family each, the default one first.
	ranges    []addresses
	ports     PortRange
	ips       *claims[netip.Addr]
	nodePorts *claims[int32]
}

func newServices(ranges []addresses, ports PortRange) *services {
	return &services{
		ranges: ranges, ports: ports,
		ips:       newClaims(clusterIPs),
		nodePorts: newClaims(nodePorts),
	}
}

// clusterIPs are the addresses that a Service holds.
func clusterIPs(svc *corev1.Service) []netip.Addr {
	if !wantsIP(svc) {
		return nil
	}
	var out []netip.Addr
	for _, s := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(s); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// nodePorts are the node ports that a Service holds.
func nodePorts(svc *corev1.Service) []int32 {
	var out []int32
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, p.NodePort)
		}
	}
	if p := svc.Spec.HealthCheckNodePort; p != 0 {
		out = append(out, p)
	}
	return out
}

// wantsIP is false for headless Services and ExternalName.
func wantsIP(svc *corev1.Service) bool {
	return svc.Spec.Type != corev1.ServiceTypeExternalName && svc.Spec.ClusterIP != corev1.ClusterIPNone &&
		!slices.Contains(svc.Spec.ClusterIPs, corev1.ClusterIPNone)
}

// wantsPorts reports whether every port shall have a node port.
func wantsPorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	default:
		return false
	}
}

func wantsHealthPort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// observe follows what is committed.
func (s *services) observe(events []object.Event) {
	for _, e := range events {
		if e.Key.GroupKind != serviceKind {
			continue
		}
		old, _ := e.Old.(*corev1.Service)
		var now *corev1.Service
		if e.Type != object.Deleted {
			now, _ = e.Object.(*corev1.Service)
		}
		s.ips.commit(e.Key, old, now)
		s.nodePorts.commit(e.Key, old, now)
	}
	// Whatever was given out since is committed now, or was taken back.
	s.ips.reset()
	s.nodePorts.reset()
}

// admit is the store's hook.
func (s *services) admit(view object.Reader, next, old object.Object) (object.Object, error) {
	given, ok := next.(*corev1.Service)
	if !ok {
		return next, nil
	}
	svc := *given
	svc.Spec.ClusterIPs = slices.Clone(given.Spec.ClusterIPs)
	svc.Spec.IPFamilies = slices.Clone(given.Spec.IPFamilies)
	svc.Spec.Ports = slices.Clone(given.Spec.Ports)
	before, _ := old.(*corev1.Service)
	a := allocation{
		services: s, view: view, svc: &svc,
		key: object.KeyOf(serviceKind, &svc),
	}
	if err := a.setFamilies(before); err != nil {
		return nil, err
	}
	if err := a.allocateIPs(); err != nil {
		return nil, err
	}
	if err := a.allocatePorts(); err != nil {
		return nil, err
	}
	s.ips.claim(a.key, &svc)
	s.nodePorts.claim(a.key, &svc)
	return &svc, nil
}

// allocation is the work on one Service, which is ours to change.
type allocation struct {
	*services
	view object.Reader
	key  object.Key
	svc  *corev1.Service
}

func (a *allocation) invalid(err *field.Error) error {
	return apierrors.NewInvalid(serviceKind, a.svc.Name, field.ErrorList{err})
}

// start spreads the Services over a range, each always to the same place.
func (a *allocation) start() uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.key.Namespace + "/" + a.key.Name))
	return h.Sum64()
}

func (a *allocation) allocatePorts() error {
	spec := &a.svc.Spec
	if spec.Type != corev1.ServiceTypeNodePort && spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	taken := map[int32]bool{}
	for i, p := range spec.Ports {
		if p.NodePort == 0 {
			continue
		}
		if err := a.checkPort(p.NodePort); err != nil {
			return a.invalid(field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error()))
		}
		taken[p.NodePort] = true
	}
	if spec.HealthCheckNodePort != 0 {
		if err := a.checkPort(spec.HealthCheckNodePort); err != nil {
			return a.invalid(field.Invalid(field.NewPath("spec", "healthCheckNodePort"), spec.HealthCheckNodePort, err.Error()))
		}
		taken[spec.HealthCheckNodePort] = true
	}
	if wantsPorts(a.svc) {
		for i := range spec.Ports {
			if err := a.fillPort(i, taken); err != nil {
				return err
			}
		}
	}
	if wantsHealthPort(a.svc) && spec.HealthCheckNodePort == 0 {
		port, err := a.nextPort(taken)
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort: %w", err))
		}
		spec.HealthCheckNodePort = port
	}
	return nil
}

// fillPort gives port i a node port: that of another protocol on the same port,
// or a free one.
func (a *allocation) fillPort(i int, taken map[int32]bool) error {
	ports := a.svc.Spec.Ports
	if ports[i].NodePort != 0 {
		return nil
	}
	for _, other := range ports {
		if other.Port == ports[i].Port && other.Protocol != ports[i].Protocol && other.NodePort != 0 {
			ports[i].NodePort = other.NodePort
			return nil
		}
	}
	port, err := a.nextPort(taken)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
	}
	ports[i].NodePort = port
	return nil
}

func (a *allocation) checkPort(port int32) error {
	switch {
	case port < a.ports.First || port > a.ports.Last:
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %s", a.ports)
	case !a.nodePorts.free(a.view, a.key, port):
		return errPortAllocated
	}
	return nil
}

// nextPort finds a free port that is not in taken, and adds it there.
func (a *allocation) nextPort(taken map[int32]bool) (int32, error) {
	size := int(a.ports.Last-a.ports.First) + 1
	n, err := scan(size, band(size, 32, 16, 128), a.start(), func(i int) bool {
		port := a.ports.First + int32(i) - 1
		return !taken[port] && a.nodePorts.free(a.view, a.key, port)
	})
	if err != nil {
		return 0, err
	}
	port := a.ports.First + int32(n) - 1
	taken[port] = true
	return port, nil
}
