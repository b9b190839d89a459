package registration_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"headway.dev/nodes/machine"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/registration"
	"headway.dev/nodes/runtime"
)

// What somebody adds to the capacity of a node is allocatable from then on, and what is
// taken off is not; what the node has of its own stays.
func TestExtendedResources(t *testing.T) {
	client := fake.NewClientset()
	own := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi")}
	node := registration.New(registration.Config{
		NodeName: "n1", NodeIP: "192.0.2.1", Client: client, MaxPods: 110, Log: slog.New(slog.DiscardHandler),
		Machine:        machine.Machine{Capacity: own, Allocatable: own},
		Images:         func(context.Context) ([]runtime.ImageInfo, error) { return nil, nil },
		MemoryPressure: func() bool { return false }, DiskPressure: func() bool { return false },
	})
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	if err := node.Register(ctx, group); err != nil {
		t.Fatal(err)
	}
	patch := func(typ types.PatchType, text string) {
		t.Helper()
		if _, err := client.CoreV1().Nodes().Patch(ctx, "n1", typ, []byte(text), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	allocatable := func(want string) {
		t.Helper()
		nodetest.Eventually(t, time.Minute, func() string {
			n, err := client.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			got, there := n.Status.Allocatable["example.com/dongle"]
			if there != (want != "") || there && got.String() != want || n.Status.Allocatable.Cpu().String() != "4" || n.Status.Allocatable.Pods().Value() != 110 {
				return "allocatable is " + resource.NewQuantity(got.Value(), resource.DecimalSI).String() + " of the resource, and " + n.Status.Allocatable.Cpu().String() + " CPUs"
			}
			return ""
		})
	}
	allocatable("")
	patch(types.JSONPatchType, `[{"op":"add","path":"/status/capacity/example.com~1dongle","value":"4"}]`)
	allocatable("4")
	patch(types.JSONPatchType, `[{"op":"replace","path":"/status/capacity/example.com~1dongle","value":"2"}]`)
	allocatable("2")
	patch(types.JSONPatchType, `[{"op":"remove","path":"/status/capacity/example.com~1dongle"}]`)
	allocatable("")
}

// TestTwoAddresses: a node of both families writes its status again and again, and leaves the
// addresses that others have given it.
func TestTwoAddresses(t *testing.T) {
	external := corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "198.51.100.1"}
	client := fake.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{external}}})
	own := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")}
	var pressure atomic.Bool
	node := registration.New(registration.Config{
		NodeName: "n1", NodeIP: "192.0.2.1", NodeIP6: "2001:db8::1", Client: client, MaxPods: 110, Log: slog.New(slog.DiscardHandler),
		Machine:        machine.Machine{Capacity: own, Allocatable: own},
		Images:         func(context.Context) ([]runtime.ImageInfo, error) { return nil, nil },
		Event:          func(*corev1.Node, string, string) {},
		MemoryPressure: pressure.Load, DiskPressure: func() bool { return false },
	})
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	if err := node.Register(ctx, group); err != nil {
		t.Fatal(err)
	}
	want := []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}, {Type: corev1.NodeInternalIP, Address: "2001:db8::1"}, {Type: corev1.NodeHostName, Address: "n1"}, external,
	}
	for _, under := range []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue} {
		pressure.Store(under == corev1.ConditionTrue)
		nodetest.Eventually(t, time.Minute, func() string {
			n, err := client.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			if !slices.Equal(n.Status.Addresses, want) {
				return fmt.Sprintf("the addresses are %v, want %v", n.Status.Addresses, want)
			}
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeMemoryPressure && c.Status == under {
					return ""
				}
			}
			return fmt.Sprintf("the conditions are %v, want memory pressure: %s", n.Status.Conditions, under)
		})
	}
}
