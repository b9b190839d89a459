package iptables

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// passing reports whether a program failed by what passes, rather than by a rule:
// another program held the lock, or the kernel had no memory. (With iptables of the
// backend nf_tables, such an error also names a line.)
func passing(err error) bool {
	return slices.ContainsFunc([]string{
		"xtables lock", "Resource temporarily unavailable", "Device or resource busy", "Interrupted system call",
		"Cannot allocate memory", "No buffer space available", "signal: killed",
	}, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// withdraw takes out what the Services add of which one added that rule to a
// chain that all share, until again.
func (t *table) withdraw(rule string, why error) bool {
	var whose []types.NamespacedName
	for name, p := range t.parts {
		for _, rules := range [][]string{p.services, p.externals, p.nodePorts, p.reject} {
			if slices.Contains(rules, rule) {
				whose = append(whose, name)
				break
			}
		}
	}
	for _, name := range whose {
		d := t.parts[name].of
		t.takeOne(name, nil)
		t.withdrawn[name], t.whyWithdrawn[name] = d, why
	}
	if len(whose) > 0 {
		t.share()
	}
	return len(whose) > 0
}

// refuses adds to out the Services of which something is missing that the kernel refused.
func (t *table) refuses(out map[types.NamespacedName]error) {
	for id := range t.refused {
		if _, wanted := t.want[id]; !wanted {
			delete(t.refused, id) // its Service is gone
		}
	}
	maps.DeleteFunc(t.whyRefused, func(id chainID, _ error) bool { _, still := t.refused[id]; return !still })
	maps.DeleteFunc(t.whyWithdrawn, func(name types.NamespacedName, _ error) bool { _, still := t.withdrawn[name]; return !still })
	maps.Copy(out, t.whyWithdrawn)
	if len(t.refused) == 0 {
		return
	}
	for name, p := range t.parts {
		for _, c := range p.chains {
			if why, refused := t.whyRefused[chainID{c.Table, c.Name}]; refused {
				out[name] = why
			}
		}
	}
}

// again wants once more what the kernel refused.
func (t *table) again() {
	if t.refuses(map[types.NamespacedName]error{}); len(t.refused)+len(t.withdrawn) == 0 {
		return
	}
	for id, rules := range t.refused {
		t.want[id], t.dirty[id] = rules, true
		delete(t.refused, id)
	}
	for name, d := range t.withdrawn {
		t.takeOne(name, d)
	}
	t.share()
}
