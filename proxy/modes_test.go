package proxy_test

import (
	"os/exec"
	"strings"
	"testing"

	"headway.dev/proxy"
	"headway.dev/proxy/iptables"
)

// A proxy that starts in another mode leaves nothing of the one before, and
// breaks no service meanwhile.
func TestSwitchModes(t *testing.T) {
	servers(t, a)
	client := newPod(t, "10.244.0.20")
	m := newMemory()
	m.set(newService("web", vip, 30080), ready(a))
	m.set(newService("none", "10.96.0.11", 30081))
	left := map[proxy.Mode]func(string) bool{
		proxy.ModeIptables: func(rules string) bool { return strings.Contains(rules, iptables.Prefix) },
		proxy.ModeNftables: func(rules string) bool { return strings.Contains(rules, "headway-proxy") },
	}
	for i, mode := range []proxy.Mode{proxy.ModeIptables, proxy.ModeNftables, proxy.ModeIptables} {
		stop := start(t, mode, m)
		eventually(t, "only the rules of "+string(mode)+" are there", func() bool {
			if _, _, err := client.ask(vip + ":80"); i > 0 && err != nil {
				t.Errorf("request lost: %v", err)
			}
			rules := saved(t)
			for other, there := range left {
				if there(rules) != (other == mode) {
					return false
				}
			}
			return true
		})
		eventually(t, "the service answers", reaches(client, vip+":80", a))
		stop()
	}
	if out, err := exec.CommandContext(t.Context(), "ip", "route").Output(); err != nil || !strings.Contains(string(out), "10.96.") {
		t.Errorf("the route to the services went with the other mode's rules: %s, %v", out, err)
	}
}
