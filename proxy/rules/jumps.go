package rules

import (
	"slices"
	"strings"
)

// Jump is a rule of a built-in chain that leads to one of ours.
type Jump struct {
	Table, Chain string
	Rule         []string
}

// Jumps lists the jumps from the built-in chains, in the order in which they
// are to be inserted before existing rules. Those that lead connections to
// endpoints come last: if a connection went through them while the others are
// missing, it would not be masqueraded for as long as it lives.
func Jumps(cfg Config) []Jump {
	comment := []string{"-m", "comment", "--comment", "headway service proxy"}
	jump := func(table, chain, to string, match ...string) Jump {
		return Jump{table, chain, slices.Concat(match, comment, []string{"-j", to})}
	}
	var services []string
	if cfg.ServiceCIDR.IsValid() {
		services = []string{"-d", cfg.ServiceCIDR.Masked().String()}
	}
	isNew := []string{"-m", "conntrack", "--ctstate", "NEW"}
	out := []Jump{
		jump("nat", "POSTROUTING", Postrouting),
		jump("filter", "FORWARD", Forward),
		jump("filter", "INPUT", Reject, isNew...),
		jump("filter", "FORWARD", Reject, isNew...),
		jump("filter", "OUTPUT", Reject, isNew...),
		jump("filter", "INPUT", Firewall),
		jump("filter", "OUTPUT", Firewall),
	}
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		for _, dst := range cfg.nodeAddresses() {
			out = append(out, jump("nat", chain, NodePorts, strings.Fields(dst)...))
		}
		out = append(out, jump("nat", chain, Services, services...))
	}
	return out
}
