package policy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/nodepolicy"
	"headway.dev/nodes/network"
	"headway.dev/nodes/policy"
)

// BenchmarkChange measures what a node of 100 isolated pods does about one change: from
// what the server says, as JSON, to the kernel.
func BenchmarkChange(b *testing.B) {
	for _, pods := range []int{1000, 10000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) { benchmarkNode(b, pods) })
	}
}

func benchmarkNode(b *testing.B, pods int) {
	b.Helper()
	ns := fmt.Sprintf("hwnpb%d", os.Getpid())
	addNamespace(b, ns)
	ip := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	uid := func(i int) types.UID { return types.UID(fmt.Sprint("pod", i)) }
	s := nodepolicy.State{
		Pods:     map[types.UID]*nodepolicy.Pod{},
		Profiles: map[string]*nodepolicy.Profile{"i1": {Rules: []nodepolicy.Rule{{Groups: []string{"g1"}}}}, "i2": {}},
		Groups:   map[string]map[types.UID]*nodepolicy.Member{"g1": {}, nodepolicy.Nodes: {}},
	}
	var attached []network.Attachment
	for i := range pods {
		s.Groups["g1"][uid(i)] = &nodepolicy.Member{IPs: []netip.Addr{ip(i)}}
		if i < 100 {
			s.Pods[uid(i)] = &nodepolicy.Pod{Ingress: "i1"}
			attached = append(attached, network.Attachment{Pod: string(uid(i)), Link: fmt.Sprint("veth", i), IP: ip(i)})
		}
	}
	var rules *policy.Rules
	run := func(what string, change func(i int) nodepolicy.Change) {
		b.Run(what, func(b *testing.B) {
			err := inside(b, ns, func() (err error) {
				for i := range b.N {
					if what == "all" { // as an agent that has just started
						if rules, err = policy.NewRules(false); err != nil {
							return err
						}
					}
					said, err := json.Marshal(change(i))
					if err != nil {
						return err
					}
					var c nodepolicy.Change
					if err := json.Unmarshal(said, &c); err != nil {
						return err
					}
					rules.Take(&c)
					rules.Attach(attached)
					if err := errors.Join(rules.Write(b.Context())); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
	run("all", func(int) nodepolicy.Change {
		return nodepolicy.Change{Reset: true, State: s}
	})
	run("peer", func(i int) nodepolicy.Change {
		m := map[types.UID]*nodepolicy.Member{uid(5): nil}
		if i%2 == 1 {
			m[uid(5)] = &nodepolicy.Member{IPs: []netip.Addr{ip(5)}}
		}
		return nodepolicy.Change{State: nodepolicy.State{Groups: map[string]map[types.UID]*nodepolicy.Member{"g1": m}}}
	})
	run("policy", func(i int) nodepolicy.Change {
		return nodepolicy.Change{State: nodepolicy.State{Profiles: map[string]*nodepolicy.Profile{"i1": {Rules: []nodepolicy.Rule{
			{Groups: []string{"g1"}, Ports: []nodepolicy.Port{{Protocol: "TCP", First: uint16(1 + i%60000), Last: uint16(1 + i%60000)}}},
		}}}}}
	})
}
