package api_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
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
