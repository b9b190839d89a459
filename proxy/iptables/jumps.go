package iptables

import (
	"slices"
	"strings"

	"headway.dev/proxy/service"
)

// jump is a rule of a built-in chain that leads to one of ours.
type jump struct {
	table, chain string
	rule         []string
}

// jumps lists the jumps from the built-in chains, in the order in which they
// are to be inserted before existing rules. Those that lead connections to
// endpoints come last: if a connection went through them while the others are
// missing, it would not be masqueraded for as long as it lives.
func jumps(cfg service.Config, family service.Family) []jump {
	comment := []string{"-m", "comment", "--comment", "headway service proxy"}
	to := func(table, chain, target string, match ...string) jump {
		return jump{table, chain, slices.Concat(match, comment, []string{"-j", target})}
	}
	isNew := []string{"-m", "conntrack", "--ctstate", "NEW"}
	out := []jump{
		to("nat", "POSTROUTING", Postrouting),
		to("filter", "FORWARD", Forward),
		to("filter", "INPUT", Reject, isNew...),
		to("filter", "FORWARD", Reject, isNew...),
		to("filter", "OUTPUT", Reject, isNew...),
		to("filter", "INPUT", Firewall),
		to("filter", "OUTPUT", Firewall),
	}
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		for _, dst := range nodeAddresses(cfg, family) {
			out = append(out, to("nat", chain, NodePorts, strings.Fields(dst)...))
		}
		out = append(out, to("nat", chain, Externals))
		for _, services := range cfg.ServiceRanges(family) {
			out = append(out, to("nat", chain, Services, "-d", services.String()))
		}
	}
	return out
}
