// Package resolv makes the resolv.conf of pods: which name servers a pod asks, and
// what it adds to short names.
package resolv

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// What a resolver takes, as for the kubelet.
const (
	maxServers     = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

// Node is what a pod's resolv.conf is made from, besides the pod.
type Node struct {
	// Servers are the cluster's name servers; without any, pods use the node's.
	Servers []string
	Domain  string
	// ResolvConf is the node's own resolv.conf.
	ResolvConf string
}

// Conf returns the content of the pod's /etc/resolv.conf by its dnsPolicy and
// dnsConfig, and what users have to be told of it.
func Conf(p *corev1.Pod, n Node) (conf string, warnings []string) {
	var servers, searches, options []string
	policy := p.Spec.DNSPolicy
	if policy == corev1.DNSClusterFirst && p.Spec.HostNetwork {
		policy = corev1.DNSDefault
	}
	node := parse(n.ResolvConf)
	switch {
	case policy == corev1.DNSNone:
	case policy == corev1.DNSDefault || len(n.Servers) == 0:
		servers, searches, options = node["nameserver"], node["search"], node["options"]
	default:
		servers = n.Servers
		if n.Domain != "" {
			searches = []string{p.Namespace + ".svc." + n.Domain, "svc." + n.Domain, n.Domain}
		}
		searches = append(searches, node["search"]...)
		options = []string{"ndots:5"}
	}
	if c := p.Spec.DNSConfig; c != nil {
		servers = slices.Concat(servers, c.Nameservers)
		searches = slices.Concat(searches, c.Searches)
		for _, o := range c.Options {
			options = setOption(options, o)
		}
	}
	servers, searches = unique(servers), unique(searches)
	if len(servers) > maxServers {
		servers = servers[:maxServers]
		warnings = append(warnings, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(servers, " "))
	}
	if fit := fitting(searches); len(fit) < len(searches) {
		searches = fit
		warnings = append(warnings, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(searches, " "))
	}
	var b strings.Builder
	if len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String(), warnings
}

// fitting are the first searches, as many as a resolver takes.
func fitting(searches []string) []string {
	searches = searches[:min(len(searches), maxSearches)]
	searches = slices.DeleteFunc(slices.Clone(searches), func(s string) bool { return len(s) > validation.DNS1123SubdomainMaxLength })
	for len(strings.Join(searches, " ")) > maxSearchChars {
		searches = searches[:len(searches)-1]
	}
	return searches
}

func setOption(options []string, o corev1.PodDNSConfigOption) []string {
	text := o.Name
	if o.Value != nil && *o.Value != "" {
		text += ":" + *o.Value
	}
	out := make([]string, 0, len(options)+1)
	for _, have := range options {
		if name, _, _ := strings.Cut(have, ":"); name != o.Name {
			out = append(out, have)
		}
	}
	return append(out, text)
}

func parse(content string) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			out["nameserver"] = append(out["nameserver"], fields[1])
		case "search", "options": // the last line wins
			out[fields[0]] = fields[1:]
		}
	}
	return out
}

func unique(list []string) []string {
	seen, out := map[string]bool{}, list[:0:0]
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
