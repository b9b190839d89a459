package policy_test

import (
	"encoding/json"
	"fmt"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// BenchmarkChange measures what the server does about one change among many pods on ten
// nodes, of which ten namespaces are isolated: from the store's event to what a node is
// told, as JSON.
func BenchmarkChange(b *testing.B) {
	for _, pods := range []int{1000, 10000} {
		c := newCluster()
		for i := range 10 {
			space := fmt.Sprintf("s%d", i)
			c.set(namespace(space, map[string]string{"team": space}))
			c.set(netpol(space, "some", networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
					{PodSelector: selecting("app", "x")}, {NamespaceSelector: selecting("team", "s0"), PodSelector: selecting("app", "y")},
				}}},
			}))
		}
		at := func(i int, app string) {
			c.set(pod(fmt.Sprintf("s%d", i%10), fmt.Sprintf("p%d", i), fmt.Sprintf("n%d", i/10%10), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), map[string]string{"app": app}, web))
		}
		for i := range pods {
			at(i, "x")
		}
		v := c.index.Open("n0")
		first, err := json.Marshal(v.Next())
		if err != nil {
			b.Fatal(err)
		}
		told := func(b *testing.B) {
			b.Helper()
			change := v.Next()
			if change.Empty() {
				b.Fatal("nothing is told")
			}
			if _, err := json.Marshal(change); err != nil {
				b.Fatal(err)
			}
		}
		n := 0 // never the same change twice in a row
		b.Run(fmt.Sprintf("pod/%d", pods), func(b *testing.B) {
			for range b.N {
				at(0, []string{"y", "x"}[n%2])
				n++
				told(b)
			}
		})
		b.Run(fmt.Sprintf("policy/%d", pods), func(b *testing.B) {
			for range b.N {
				n++
				c.set(netpol("s0", "other", networkingv1.NetworkPolicySpec{
					PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
					Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: selecting("app", fmt.Sprint("z", n))}}}},
				}))
				told(b)
			}
		})
		b.Run(fmt.Sprintf("all/%d", pods), func(b *testing.B) {
			b.ReportMetric(float64(len(first)), "B")
			for range b.N {
				one := c.index.Open("n0")
				if _, err := json.Marshal(one.Next()); err != nil {
					b.Fatal(err)
				}
				one.Close()
			}
		})
		v.Close()
	}
}
