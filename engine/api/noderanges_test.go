package api_test

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/nodeconfig"
)

// A node does not choose which pods' packets come to it, and who is no node by name sees
// no pods.
func TestRangesOfNodes(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Config)
	as := func(node string) kubernetes.Interface {
		return kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:"+node, "system:nodes"))
	}
	node := func(name, cidr string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if cidr != "" {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = cidr, []string{cidr}
		}
		return n
	}
	if _, err := admin.CoreV1().Nodes().Create(ctx, node("n1", "10.42.1.0/24"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, cidr := range []string{"10.42.0.0/16", "10.42.1.0/24", "10.42.1.128/25", "10.42.9.0/25", "0.0.0.0/0"} {
		if _, err := as("n2").CoreV1().Nodes().Create(ctx, node("n2", cidr), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("a node chooses %s: %v, want it forbidden", cidr, err)
		}
	}
	// What it had before its Node was deleted is its own.
	made, err := as("n2").CoreV1().Nodes().Create(ctx, node("n2", "10.42.2.0/24"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, cidr := range []string{"10.42.3.0/24", ""} {
		next := made.DeepCopy()
		next.Spec.PodCIDR, next.Spec.PodCIDRs = cidr, nil
		if cidr != "" {
			next.Spec.PodCIDRs = []string{cidr}
		}
		if _, err := as("n2").CoreV1().Nodes().Update(ctx, next, metav1.UpdateOptions{}); err == nil {
			t.Errorf("a node changes its range to %q", cidr)
		}
		if _, err := admin.CoreV1().Nodes().Update(ctx, next, metav1.UpdateOptions{}); err == nil {
			t.Errorf("somebody changes a node's range to %q", cidr)
		}
	}
	if _, err := as("").CoreV1().Pods("").List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a node without a name lists all pods: %v", err)
	}
}

// A node has no address that is another's, or of the cluster's own ranges.
func TestAddressesOfNodes(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Config)
	as := func(node string) kubernetes.Interface {
		return kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:"+node, "system:nodes"))
	}
	if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	ranges := nodeconfig.Config{ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), ClusterDomain: "cluster.local"}
	if _, err := admin.CoreV1().ConfigMaps(metav1.NamespaceSystem).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: nodeconfig.Name}, Data: ranges.Data()}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node := func(name, ip string, typ corev1.NodeAddressType) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: typ, Address: ip}}}}
	}
	if _, err := as("n1").CoreV1().Nodes().Create(ctx, node("n1", "192.0.2.1", corev1.NodeInternalIP), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	made, err := as("n2").CoreV1().Nodes().Create(ctx, node("n2", "192.0.2.2", corev1.NodeInternalIP), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ip  string
		typ corev1.NodeAddressType
		ok  bool
	}{
		{"192.0.2.1", corev1.NodeInternalIP, false},
		{"192.0.2.1", corev1.NodeExternalIP, false},
		{"10.42.3.4", corev1.NodeInternalIP, false},
		{"10.96.0.1", corev1.NodeExternalIP, false},
		{"192.0.2.1", corev1.NodeHostName, true}, // a name
		{"192.0.2.3", corev1.NodeExternalIP, true},
	} {
		next := made.DeepCopy()
		next.ResourceVersion = ""
		next.Status.Addresses = append(next.Status.Addresses, corev1.NodeAddress{Type: c.typ, Address: c.ip})
		_, err := as("n2").CoreV1().Nodes().UpdateStatus(ctx, next, metav1.UpdateOptions{})
		if c.ok && err != nil || !c.ok && !apierrors.IsForbidden(err) {
			t.Errorf("%s %s: %v, want it allowed: %t", c.typ, c.ip, err, c.ok)
		}
	}
	for _, ip := range []string{"192.0.2.1", "10.42.3.4"} {
		if _, err := as("n4").CoreV1().Nodes().Create(ctx, node("n4", ip, corev1.NodeInternalIP), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("a node is made with %s: %v, want it forbidden", ip, err)
		}
	}
}
