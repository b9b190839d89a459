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

	"headway.dev/engine/controllers/control"
)

const (
	objectManagedBy      = "endpoints.kubernetes.io/managed-by"
	objectManagedByValue = "endpoint-controller"
	// perObject is how many addresses an Endpoints object holds; what is
	// beyond is cut and annotated.
	perObject = 1000
)

// DecideObject returns the Endpoints object of a Service, nil if current needs
// no change.
func DecideObject(svc *corev1.Service, pods []*corev1.Pod, current *corev1.Endpoints) *corev1.Endpoints {
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	if current != nil {
		c := *current
		next = &c
	}
	var cut bool
	next.Subsets, cut = subsets(svc, pods)
	labels := map[string]string{}
	maps.Copy(labels, svc.Labels)
	delete(labels, corev1.IsHeadlessService)
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[objectManagedBy] = objectManagedByValue
	next.Labels = labels
	annotations := maps.Clone(next.Annotations)
	delete(annotations, corev1.EndpointsOverCapacity)
	if cut {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[corev1.EndpointsOverCapacity] = "truncated"
	}
	next.Annotations = annotations
	if current != nil && maps.Equal(current.Labels, next.Labels) && maps.Equal(current.Annotations, next.Annotations) &&
		apiequality.Semantic.DeepEqual(current.Subsets, next.Subsets) {
		return nil
	}
	return next
}

func subsets(svc *corev1.Service, pods []*corev1.Pod) (all []corev1.EndpointSubset, cut bool) {
	byPorts := map[string]*corev1.EndpointSubset{}
	family := families(svc)[0]
	count := 0
	for _, pod := range pods {
		addresses := podAddresses(pod, family)
		if len(addresses) == 0 || control.Terminal(pod) || pod.DeletionTimestamp != nil && !svc.Spec.PublishNotReadyAddresses {
			continue
		}
		ports := podPorts(svc, pod)
		if len(ports) == 0 && len(svc.Spec.Ports) > 0 {
			continue
		}
		if count++; count > perObject {
			return sorted(byPorts), true
		}
		data, _ := json.Marshal(ports) // of an API type: cannot fail
		subset := byPorts[string(data)]
		if subset == nil {
			subset = &corev1.EndpointSubset{Ports: objectPorts(ports)}
			byPorts[string(data)] = subset
		}
		address := corev1.EndpointAddress{
			IP:        addresses[0],
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		}
		if pod.Spec.NodeName != "" {
			address.NodeName = new(pod.Spec.NodeName)
		}
		if named(svc, pod) {
			address.Hostname = pod.Spec.Hostname
		}
		if svc.Spec.PublishNotReadyAddresses || control.Ready(pod) {
			subset.Addresses = append(subset.Addresses, address)
		} else {
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
		}
	}
	return sorted(byPorts), false
}

func objectPorts(ports []discoveryv1.EndpointPort) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, p := range ports {
		out = append(out, corev1.EndpointPort{Name: *p.Name, Port: *p.Port, Protocol: *p.Protocol, AppProtocol: p.AppProtocol})
	}
	slices.SortFunc(out, func(a, b corev1.EndpointPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port))
	})
	return out
}

func sorted(byPorts map[string]*corev1.EndpointSubset) []corev1.EndpointSubset {
	var all []corev1.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		s := *byPorts[key]
		slices.SortFunc(s.Addresses, compareAddresses)
		slices.SortFunc(s.NotReadyAddresses, compareAddresses)
		all = append(all, s)
	}
	return all
}

func compareAddresses(a, b corev1.EndpointAddress) int {
	x, errX := netip.ParseAddr(a.IP)
	y, errY := netip.ParseAddr(b.IP)
	if errX == nil && errY == nil && x != y {
		return x.Compare(y)
	}
	return cmp.Compare(a.IP+"/"+string(a.TargetRef.UID), b.IP+"/"+string(b.TargetRef.UID))
}
