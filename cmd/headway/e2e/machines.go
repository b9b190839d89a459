package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServerAddress is where machines reach the server of Machines.
const ServerAddress = "10.66.0.1"

// ClientAddress is where a machine named client is, see [Machines.Machine].
const ClientAddress = "10.66.0.9"

// Machines is a cluster of several machines: `headway up` on the first, node-1, and agents
// on others. node-2 is on its network, and node-3 on one behind a router.
type Machines struct {
	*Cluster
	router string
	agents map[string]*Cluster
	images string
	far    map[string]func() // ends what Far began
}

// place is where a machine is: its address, and its network's number.
type place struct {
	address string
	network int
}

// client is no node: it is on the network of the first two, and outside of the cluster.
var places = map[string]place{"node-1": {ServerAddress, 66}, "node-2": {"10.66.0.2", 66}, "node-3": {"10.67.0.3", 67}, "client": {ClientAddress, 66}}

// StartMachines starts the first machine. Join adds the others.
func StartMachines(tb testing.TB, imagesDir string, flags ...string) *Machines {
	tb.Helper()
	return startMachines(tb, imagesDir, New(tb, append([]string{"--images-dir", imagesDir, "--listen", "0.0.0.0:6443", "--node-ip", ServerAddress}, flags...)...))
}

// StartServer starts `headway server` on the first machine, which is no node then.
func StartServer(tb testing.TB, imagesDir string, flags ...string) *Machines {
	tb.Helper()
	c := New(tb, flags...)
	c.Program.command = []string{"server", "--data-dir", c.DataDir, "--advertise-address", ServerAddress, "--settle", "1s"}
	return startMachines(tb, imagesDir, c)
}

func startMachines(tb testing.TB, imagesDir string, c *Cluster) *Machines {
	tb.Helper()
	m := &Machines{Cluster: c, router: c.id + "-r", agents: map[string]*Cluster{}, images: imagesDir, far: map[string]func(){}}
	command(tb, "ip", "netns", "add", m.router)
	tb.Cleanup(func() { command(tb, "ip", "netns", "delete", m.router) })
	for _, network := range []int{66, 67} {
		for _, args := range []string{
			"link add br%[1]d type bridge", "address add 10.%[1]d.0.254/24 dev br%[1]d", "link set br%[1]d up",
		} {
			command(tb, "ip", append([]string{"-n", m.router}, strings.Fields(fmt.Sprintf(args, network))...)...)
		}
	}
	command(tb, "ip", "netns", "exec", m.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
	m.connect(c.Node, "node-1")
	c.Up()
	c.cloneRemote()
	return m
}

// SixthAddress is the IPv6 address of a machine. No router knows the networks of those.
func SixthAddress(name string) string {
	at := places[name]
	return fmt.Sprintf("fd%d::%s", at.network, at.address[strings.LastIndex(at.address, ".")+1:])
}

// connect puts a machine on its network, by a link lan0 whose other end the router has.
func (m *Machines) connect(n *Node, name string) {
	m.tb.Helper()
	at := places[name]
	for _, c := range [][]string{
		{"ip", "-n", n.id, "link", "add", "lan0", "type", "veth", "peer", "name", name, "netns", m.router},
		{"ip", "-n", n.id, "address", "add", at.address + "/24", "dev", "lan0"},
		{"ip", "-n", n.id, "address", "add", SixthAddress(name) + "/64", "dev", "lan0", "nodad"},
		{"ip", "-n", n.id, "link", "set", "lan0", "up"},
		{"ip", "-n", n.id, "route", "replace", "default", "via", fmt.Sprintf("10.%d.0.254", at.network)},
		{"ip", "-n", m.router, "link", "set", name, "master", fmt.Sprintf("br%d", at.network), "up"},
	} {
		command(m.tb, c[0], c[1:]...)
	}
}

// Cut takes a machine's link down or up again, as its cable.
func (m *Machines) Cut(name string, cut bool) {
	m.tb.Helper()
	state := "up"
	if cut {
		state = "down"
	}
	command(m.tb, "ip", "-n", m.router, "link", "set", name, state)
}

// Lossy loses so many percent of the packets that arrive at each machine from others, or
// none again.
func (m *Machines) Lossy(percent int) {
	m.tb.Helper()
	rules := "table inet lossy; delete table inet lossy"
	if percent > 0 {
		rules = fmt.Sprintf("table inet lossy { chain in { type filter hook prerouting priority raw; iifname lan0 numgen random mod 100 < %d drop; }; }", percent)
	}
	for _, c := range append(slices.Collect(maps.Values(m.agents)), m.Cluster) {
		command(m.tb, "nsenter", "--net=/run/netns/"+c.id, "nft", rules)
	}
}

// Unanswered are the endpoints of connections that the first machine's kernel made to a
// Service and that nothing has answered in the last two minutes.
func (m *Machines) Unanswered(service string) []string {
	m.tb.Helper()
	var to []string
	for line := range strings.Lines(m.Run("", "cat", "/proc/net/nf_conntrack").Stdout) {
		if _, reply, ok := strings.Cut(line, "[UNREPLIED]"); ok && strings.Contains(line, " SYN_SENT ") && strings.Contains(line, " dst="+service+" ") {
			to = append(to, strings.TrimPrefix(strings.Fields(reply)[0], "src="))
		}
	}
	return to
}

// Unreachable drops what the server sends to a machine, unless the machine began.
func (m *Machines) Unreachable(name string) {
	m.tb.Helper()
	for _, chain := range []string{"INPUT", "FORWARD"} {
		command(m.tb, "nsenter", "--net=/run/netns/"+m.On(name).id, "iptables", "-w", "-I", chain, "-s", ServerAddress, "-m", "conntrack", "--ctstate", "NEW", "-j", "DROP")
	}
}

// Join is what the command of `headway token create` does on a machine, with the name
// that the machine is to have; it is started, and not waited for.
func (m *Machines) Join(name string, join ...string) *Cluster {
	m.tb.Helper()
	c := m.Machine(name)
	m.Start(c, name, join...)
	return c
}

// Start is Join on a machine that is prepared already.
func (m *Machines) Start(c *Cluster, name string, join ...string) {
	m.tb.Helper()
	c.Program.command = append(append(join, "--data-dir", c.DataDir), "--images-dir", m.images, "--node-name", name, "--node-ip", places[name].address, "--cgroup-root", c.id)
	c.Program.Spawn()
}

// On is the machine of a node.
func (m *Machines) On(node string) *Cluster {
	if agent := m.agents[node]; agent != nil {
		return agent
	}
	return m.Cluster
}

// Machine prepares a machine that does not run anything yet.
func (m *Machines) Machine(name string) *Cluster {
	m.tb.Helper()
	c := New(m.tb)
	m.connect(c.Node, name)
	m.agents[name] = c
	return c
}

// Token makes a token, and returns the command that joins a machine.
func (m *Machines) Token(flags ...string) []string {
	m.tb.Helper()
	r := m.Headway(append([]string{"token", "create"}, flags...)...)
	words := strings.Fields(r.Stdout)
	if r.Code != 0 || len(words) < 2 || words[0] != "headway" {
		m.tb.Fatalf("token create: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return words[1:]
}

// Ready waits until nodes are ready, or are not.
func (m *Machines) Ready(limit time.Duration, want corev1.ConditionStatus, names ...string) {
	m.tb.Helper()
	m.Eventually(limit, fmt.Sprintf("%v are ready: %s", names, want), func() error {
		client, err := m.client()
		if err != nil {
			return err
		}
		for _, name := range names {
			node, err := client.CoreV1().Nodes().Get(m.tb.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			found := corev1.NodeCondition{Status: "missing"}
			for _, c := range node.Status.Conditions {
				if c.Type == corev1.NodeReady {
					found = c
				}
			}
			if found.Status != want {
				return fmt.Errorf("%s, whose pods have %v: Ready is %s: %s", name, node.Spec.PodCIDRs, found.Status, found.Message)
			}
		}
		return nil
	})
}
