package network

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestIPAMHandsOutEveryAddressOnce(t *testing.T) {
	a := newIPAM(nil)
	a.prefix = netip.MustParsePrefix("10.1.2.0/28")
	seen := map[netip.Addr]bool{}
	for i := range 13 { // 16 less network, gateway and broadcast
		l, err := a.take(fmt.Sprintf("p%d", i), "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if seen[l.IP] || l.IP == a.gateway() || !a.prefix.Contains(l.IP) || l.IP == netip.MustParseAddr("10.1.2.15") {
			t.Errorf("address %s given", l.IP)
		}
		seen[l.IP] = true
	}
	if l, err := a.take("one-more", "", nil); err == nil {
		t.Errorf("a full range gave %s", l.IP)
	}
	freed := a.leases["p5"].IP
	a.release("p5")
	if l, err := a.take("again", "", nil); err != nil || l.IP != freed {
		t.Errorf("take = %s, %v; want the one free address %s", l.IP, err, freed)
	}
	if l, err := a.take("again", "", nil); err != nil || l.IP != freed {
		t.Errorf("taking again = %s, %v; want the same %s", l.IP, err, freed)
	}
}

func TestRulesOfTwoPods(t *testing.T) {
	got := rules(ruleInput{
		Chains: "HW", Bridge: "hw0", PodCIDR: netip.MustParsePrefix("10.1.2.0/24"), ClusterCIDR: netip.MustParsePrefix("10.1.0.0/16"),
		Leases: []Lease{
			{Pod: "a", IP: netip.MustParseAddr("10.1.2.3"), Ports: []HostPort{{Protocol: "UDP", HostIP: "192.0.2.1", HostPort: 53, ContainerPort: 5353}}},
			{Pod: "b", IP: netip.MustParseAddr("10.1.2.4"), Ports: []HostPort{{HostIP: "0.0.0.0", HostPort: 80, ContainerPort: 8080}}},
		},
	})
	want := `*nat
:HW-HOSTPORTS - [0:0]
:HW-PODMASQ - [0:0]
-A HW-HOSTPORTS -d 192.0.2.1 -p udp -m udp --dport 53 -j DNAT --to-destination 10.1.2.3:5353
-A HW-HOSTPORTS -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.1.2.4:8080
-A HW-PODMASQ -s 127.0.0.0/8 -o hw0 -j MASQUERADE
-A HW-PODMASQ ! -s 10.1.2.0/24 -j RETURN
-A HW-PODMASQ -d 10.1.0.0/16 -j RETURN
-A HW-PODMASQ -d 224.0.0.0/4 -j RETURN
-A HW-PODMASQ -j MASQUERADE
COMMIT
*filter
:HW-PODFWD - [0:0]
-A HW-PODFWD -i hw0 -j ACCEPT
-A HW-PODFWD -o hw0 -j ACCEPT
COMMIT
*mangle
:HW-PODVXLAN - [0:0]
-A HW-PODVXLAN ! -d 10.1.0.0/16 -i hw0 -p udp -m udp --dport 4789 -j DROP
-A HW-PODVXLAN -d 10.1.2.1 -i hw0 -p udp -m udp --dport 4789 -j DROP
-A HW-PODVXLAN -d 127.0.0.0/8 -i hw0 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
COMMIT
`
	if got != want {
		t.Errorf("rules =\n%s\nwant\n%s", got, want)
	}
}
