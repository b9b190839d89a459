package endpoints

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/control"
)

const (
	managedBy = "endpointslice-controller.k8s.io"
	// perSlice is how many endpoints a slice holds at most.
	perSlice = 100
)

// Zone returns the zone of a node, empty if it has none.
type Zone func(node string) string

// SlicePlan is what to write.
type SlicePlan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// DecideSlices makes the slices of a Service agree with its pods. Endpoints
// that stay remain in their slice, so that a change touches as few slices as
// possible.
func DecideSlices(svc *corev1.Service, pods []*corev1.Pod, existing []*discoveryv1.EndpointSlice, zone Zone) SlicePlan {
	var all []*group
	for _, family := range families(svc) {
		found := wanted(svc, pods, family, zone)
		if len(found) == 0 {
			// A Service without endpoints keeps one empty slice: it tells
			// readers that this was looked at.
			found = []*group{{family: family}}
		}
		all = append(all, found...)
	}
	return decide(metav1.ObjectMeta{
		Namespace: svc.Namespace, GenerateName: svc.Name + "-", Labels: sliceLabels(svc),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(svc, corev1.SchemeGroupVersion.WithKind("Service"))},
	}, all, existing)
}

// decide spreads groups over slices with the metadata of meta.
func decide(meta metav1.ObjectMeta, groups []*group, existing []*discoveryv1.EndpointSlice) SlicePlan {
	var p SlicePlan
	byGroup := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range existing {
		key := groupKey(s.AddressType, s.Ports)
		byGroup[key] = append(byGroup[key], s)
	}
	for _, g := range groups {
		key := groupKey(g.family, g.ports)
		g.place(meta, byGroup[key], &p)
		delete(byGroup, key)
	}
	for _, rest := range byGroup {
		p.Delete = append(p.Delete, rest...)
	}
	slices.SortFunc(p.Delete, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

// group are the endpoints that share address family and ports.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints map[string]discoveryv1.Endpoint // by target
	order     []string
}

// add replaces the endpoint of the same target.
func (g *group) add(e discoveryv1.Endpoint) {
	if _, double := g.endpoints[target(e)]; !double {
		g.order = append(g.order, target(e))
	}
	g.endpoints[target(e)] = e
}

// groups are in the order in which they were first asked for.
type groups struct {
	list  []*group
	byKey map[string]*group
}

// of finds a group, or makes it.
func (gs *groups) of(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) *group {
	key := groupKey(family, ports)
	if g := gs.byKey[key]; g != nil {
		return g
	}
	g := &group{family: family, ports: ports, endpoints: map[string]discoveryv1.Endpoint{}}
	gs.list, gs.byKey[key] = append(gs.list, g), g
	return g
}

// place spreads the group over the slices that exist, and new ones.
func (g *group) place(meta metav1.ObjectMeta, existing []*discoveryv1.EndpointSlice, p *SlicePlan) {
	left := maps.Clone(g.endpoints)
	kept := make([][]discoveryv1.Endpoint, len(existing))
	for i, s := range existing {
		for _, e := range s.Endpoints {
			uid := target(e)
			if next, ok := left[uid]; ok {
				kept[i] = append(kept[i], next)
				delete(left, uid)
			}
		}
	}
	var added []discoveryv1.Endpoint
	for _, uid := range g.order {
		if e, ok := left[uid]; ok {
			added = append(added, e)
		}
	}
	// The fullest slices first, so that few are touched and few are left.
	byRoom := make([]int, len(existing))
	for i := range byRoom {
		byRoom[i] = i
	}
	slices.SortStableFunc(byRoom, func(a, b int) int { return len(kept[b]) - len(kept[a]) })
	for _, i := range byRoom {
		// Others may have put more into a slice than we would.
		n := min(max(0, perSlice-len(kept[i])), len(added))
		kept[i] = append(kept[i], added[:n]...)
		added = added[n:]
	}
	var present int
	for _, k := range kept {
		if len(k) > 0 {
			present++
		}
	}
	for i, s := range existing {
		if len(kept[i]) == 0 {
			if present > 0 || i > 0 {
				p.Delete = append(p.Delete, s)
				continue
			}
			kept[i] = []discoveryv1.Endpoint{}
		}
		next := *s
		next.Labels, next.Endpoints = meta.Labels, kept[i]
		// Only mirrored slices have annotations of their own.
		if meta.Annotations != nil {
			next.Annotations = meta.Annotations
		}
		if !maps.Equal(s.Labels, meta.Labels) || !maps.Equal(s.Annotations, next.Annotations) || !apiequality.Semantic.DeepEqual(s.Endpoints, kept[i]) {
			p.Update = append(p.Update, &next)
		}
	}
	for first := len(existing) == 0; first || len(added) > 0; first = false {
		n := min(perSlice, len(added))
		p.Create = append(p.Create, &discoveryv1.EndpointSlice{
			ObjectMeta: *meta.DeepCopy(), AddressType: g.family, Ports: g.ports, Endpoints: append([]discoveryv1.Endpoint{}, added[:n]...),
		})
		added = added[n:]
	}
}

// target is what an endpoint stands for: its pod, or its address.
func target(e discoveryv1.Endpoint) string {
	if (e.TargetRef == nil || e.TargetRef.UID == "") && len(e.Addresses) > 0 {
		return e.Addresses[0]
	}
	if e.TargetRef == nil {
		return ""
	}
	return string(e.TargetRef.UID)
}

// wanted are the endpoints of one family, grouped by what the Service's named
// ports mean in each pod.
func wanted(svc *corev1.Service, pods []*corev1.Pod, family discoveryv1.AddressType, zone Zone) []*group {
	found := groups{byKey: map[string]*group{}}
	for _, pod := range pods {
		if control.Terminal(pod) {
			continue
		}
		addresses := podAddresses(pod, family)
		if len(addresses) == 0 {
			continue
		}
		found.of(family, podPorts(svc, pod)).add(endpoint(svc, pod, addresses, zone))
	}
	return found.list
}

func endpoint(svc *corev1.Service, pod *corev1.Pod, addresses []string, zone Zone) discoveryv1.Endpoint {
	serving, terminating := control.Ready(pod), pod.DeletionTimestamp != nil
	e := discoveryv1.Endpoint{
		Addresses: addresses,
		Conditions: discoveryv1.EndpointConditions{
			Ready:       new(svc.Spec.PublishNotReadyAddresses || serving && !terminating),
			Serving:     new(serving),
			Terminating: new(terminating),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = new(pod.Spec.NodeName)
		if z := zone(pod.Spec.NodeName); z != "" {
			e.Zone = new(z)
		}
	}
	if named(svc, pod) {
		e.Hostname = new(pod.Spec.Hostname)
	}
	e.Hints = hints(svc, &e)
	return e
}

// hints tell proxies whose connections an endpoint is for, by the Service's
// trafficDistribution: those of its zone, or of its node and then its zone.
func hints(svc *corev1.Service, e *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	var h discoveryv1.EndpointHints
	switch ptr.Deref(svc.Spec.TrafficDistribution, "") {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
		fallthrough
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
		if e.Zone != nil {
			h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
		}
	}
	if h.ForNodes == nil && h.ForZones == nil {
		return nil
	}
	return &h
}

// named reports whether the pod has a DNS name of its own below the Service.
func named(svc *corev1.Service, pod *corev1.Pod) bool {
	return pod.Spec.Hostname != "" && pod.Spec.Subdomain == svc.Name && svc.Namespace == pod.Namespace
}

// podPorts resolves the Service's ports in a pod; those that it does not have
// are left out.
func podPorts(svc *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for _, sp := range svc.Spec.Ports {
		number, ok := findPort(pod, sp)
		if !ok {
			continue
		}
		protocol := sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		ports = append(ports, discoveryv1.EndpointPort{Name: new(sp.Name), Port: new(number), Protocol: &protocol, AppProtocol: sp.AppProtocol})
	}
	return ports
}

func findPort(pod *corev1.Pod, sp corev1.ServicePort) (int32, bool) {
	switch {
	case sp.TargetPort.Type == intstr.Int && sp.TargetPort.IntVal > 0:
		return sp.TargetPort.IntVal, true
	case sp.TargetPort.Type == intstr.Int:
		return sp.Port, true
	}
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			if p.Name == sp.TargetPort.StrVal && cmp.Or(p.Protocol, corev1.ProtocolTCP) == cmp.Or(sp.Protocol, corev1.ProtocolTCP) {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

func podAddresses(pod *corev1.Pod, family discoveryv1.AddressType) []string {
	ips := pod.Status.PodIPs
	if len(ips) == 0 && pod.Status.PodIP != "" {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	var found []string
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip.IP); err == nil && addr.Is4() == (family == discoveryv1.AddressTypeIPv4) {
			found = append(found, ip.IP)
		}
	}
	return found
}

func families(svc *corev1.Service) []discoveryv1.AddressType {
	var found []discoveryv1.AddressType
	for _, f := range svc.Spec.IPFamilies {
		found = append(found, discoveryv1.AddressType(f))
	}
	if len(found) == 0 {
		found = append(found, discoveryv1.AddressTypeIPv4)
	}
	return found
}

func sliceLabels(svc *corev1.Service) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, svc.Labels)
	delete(labels, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[discoveryv1.LabelServiceName] = svc.Name
	labels[discoveryv1.LabelManagedBy] = managedBy
	return labels
}

func groupKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	sorted := slices.Clone(ports)
	slices.SortFunc(sorted, func(a, b discoveryv1.EndpointPort) int {
		return cmp.Compare(ptr.Deref(a.Name, ""), ptr.Deref(b.Name, ""))
	})
	data, _ := json.Marshal(sorted) // of an API type: cannot fail
	if len(sorted) == 0 {
		data = nil
	}
	return string(family) + string(data)
}
