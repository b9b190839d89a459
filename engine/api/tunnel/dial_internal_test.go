package tunnel

import (
	"log/slog"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// objects are what there is, by key.
type objects map[object.Key]object.Object

func (o objects) Get(key object.Key) object.Object { return o[key] }

func (o objects) List(kind schema.GroupKind, _ string) (list []object.Object, revision uint64) {
	for key, obj := range o {
		if key.GroupKind == kind {
			list = append(list, obj)
		}
	}
	return list, 1
}

func (o objects) put(kind schema.GroupKind, obj object.Object) { o[object.KeyOf(kind, obj)] = obj }

func (o objects) node(name, address string, cidrs ...string) {
	o.put(schema.GroupKind{Kind: "Node"}, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: cidrs},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}},
	})
}

func (o objects) pod(name, node, address string, hostNetwork bool) {
	o.put(schema.GroupKind{Kind: "Pod"}, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{NodeName: node, HostNetwork: hostNetwork},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}}},
	})
}

func (o objects) endpoint(name, address string, pod string) {
	e := discoveryv1.Endpoint{Addresses: []string{address}}
	if pod != "" {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: pod}
	}
	o.put(schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Endpoints: []discoveryv1.Endpoint{e},
	})
}

// What a node says of itself draws no connections to it that are for others.
func TestNodeOfAnAddress(t *testing.T) {
	for what, tc := range map[string]struct {
		add  func(o objects)
		addr string
		want string
	}{
		"in its range":                {nil, "10.42.1.7", "n1"},
		"in no range":                 {nil, "10.42.9.7", ""},
		"a node alone":                {nil, "192.0.2.1", ""},
		"a pod in the node's network": {func(o objects) { o.pod("a", "n1", "192.0.2.1", true) }, "192.0.2.1", "n1"},
		"and its endpoint":            {func(o objects) { o.pod("a", "n1", "192.0.2.1", true); o.endpoint("s", "192.0.2.1", "a") }, "192.0.2.1", "n1"},
		"a range that another claims": {func(o objects) { o.node("n2", "10.42.1.7"); o.pod("b", "n2", "10.42.1.7", true) }, "10.42.1.7", "n1"},
		"a pod without a node":        {func(o objects) { o.pod("a", "", "192.0.2.1", true) }, "192.0.2.1", ""},
		"a pod that claims another's": {func(o objects) { o.pod("b", "n2", "192.0.2.1", true) }, "192.0.2.1", ""},
		"pods of two nodes":           {func(o objects) { o.pod("a", "n1", "192.0.2.1", true); o.pod("b", "n2", "192.0.2.1", true) }, "192.0.2.1", ""},
		"two nodes with the address":  {func(o objects) { o.pod("a", "n1", "192.0.2.1", true); o.node("n2", "192.0.2.1") }, "192.0.2.1", ""},
		"an endpoint outside": {func(o objects) {
			o.node("n2", "192.0.2.9")
			o.pod("b", "n2", "192.0.2.9", true)
			o.endpoint("s", "192.0.2.9", "")
		}, "192.0.2.9", ""},
		"an endpoint of another's pod": {func(o objects) {
			o.pod("c", "n1", "10.42.1.9", false)
			o.pod("b", "n2", "192.0.2.2", true)
			o.endpoint("s", "192.0.2.2", "c")
		}, "192.0.2.2", ""},
		"an address out of every range": {func(o objects) { o.pod("b", "n2", "192.0.2.9", false) }, "192.0.2.9", ""},
	} {
		o := objects{}
		o.node("n1", "192.0.2.1", "10.42.1.0/24")
		o.node("n2", "192.0.2.2", "10.42.2.0/24")
		if tc.add != nil {
			tc.add(o)
		}
		tunnels, err := New(o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := tunnels.nodeOf(netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("%s: %s is at %q, want %q", what, tc.addr, got, tc.want)
		}
	}
}
