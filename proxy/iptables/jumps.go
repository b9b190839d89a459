package iptables

import (
	"fmt"
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

// ensureJumps puts the jumps from the built-in chains in front, so that no
// other rule accepts or drops a packet before ours have seen it. Their order
// counts: where another version left them in another one, or some of them, all are
// put in front anew before the old ones go.
func (t *table) ensureJumps() error {
	if ok, err := t.jumpsInOrder(); ok || err != nil {
		return err
	}
	placed := map[[2]string]int{}
	for _, j := range jumps(t.cfg, t.family) {
		if err := t.ipt.Insert(j.table, j.chain, 1, j.rule...); err != nil {
			return fmt.Errorf("add the jump from %s %s: %w", j.table, j.chain, err)
		}
		placed[[2]string{j.table, j.chain}]++
	}
	for at, n := range placed {
		listed, err := t.ipt.List(at[0], at[1])
		if err != nil {
			return fmt.Errorf("list %s %s: %w", at[0], at[1], err)
		}
		for i := len(listed) - 1; i > n; i-- { // 0 is the policy, then come those
			if _, ours := target(listed[i]); !ours {
				continue
			}
			if err := t.ipt.DeleteById(at[0], at[1], i); err != nil {
				return fmt.Errorf("remove an old jump from %s %s: %w", at[0], at[1], err)
			}
		}
	}
	return nil
}

// jumpsInOrder reports whether all jumps are there, in their order. What others
// have put in between stays there.
func (t *table) jumpsInOrder() (bool, error) {
	want := map[[2]string][]string{}
	for _, j := range jumps(t.cfg, t.family) {
		at := [2]string{j.table, j.chain}
		want[at] = append([]string{j.rule[len(j.rule)-1]}, want[at]...) // the last is inserted before the others
		if ok, err := t.ipt.Exists(j.table, j.chain, j.rule...); err != nil || !ok {
			if err != nil {
				err = fmt.Errorf("look for the jump from %s %s: %w", j.table, j.chain, err)
			}
			return false, err
		}
	}
	for at, targets := range want {
		listed, err := t.ipt.List(at[0], at[1])
		if err != nil {
			return false, fmt.Errorf("list %s %s: %w", at[0], at[1], err)
		}
		var have []string
		for _, rule := range listed {
			if to, ours := target(rule); ours {
				have = append(have, to)
			}
		}
		if !slices.Equal(have, targets) {
			return false, nil
		}
	}
	return true, nil
}

// target is the chain of ours that a listed rule leads to.
func target(rule string) (chain string, ours bool) {
	_, chain, _ = strings.Cut(rule, " -j ")
	return chain, strings.HasPrefix(chain, Prefix)
}
