// Package nodeconfig is what the server tells nodes of the cluster: a ConfigMap in
// kube-system that all nodes may read. Servers of one version later only add keys.
package nodeconfig

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Name is the name of the ConfigMap, in kube-system.
const Name = "headway-node-config"

// AnnouncedBy is the annotation of a Service of type LoadBalancer that names the node that
// answers for its address, by ARP; "*" where its addresses are those of the nodes.
const AnnouncedBy = "headway.dev/announced-by"

// BalancerClass is the loadBalancerClass of Services that are certainly for Headway; those
// without a class are, too.
const BalancerClass = "headway.dev/load-balancer"

// The keys of its data.
const (
	clusterCIDR, serviceCIDR, clusterDomain, example, programVersion = "clusterCIDR", "serviceCIDR", "clusterDomain", "example", "version"
	// Those of the second family are not there in clusters of one.
	clusterCIDR6, serviceCIDR6 = "clusterCIDRv6", "serviceCIDRv6"
)

// Config is what nodes are configured by.
type Config struct {
	// ClusterCIDR and ServiceCIDR are the ranges of the pods' and the Services' addresses.
	ClusterCIDR, ServiceCIDR netip.Prefix
	// ClusterCIDR6 and ServiceCIDR6 are those of IPv6: zero in a cluster of IPv4 alone.
	ClusterCIDR6, ServiceCIDR6 netip.Prefix
	// ClusterDomain is the domain of the names of Services and pods.
	ClusterDomain string
	// Example says that the cluster runs the example repository, whose image is in the
	// program and in no registry.
	Example bool
	// Version is that of the server's program, see [Skew]; empty: it does not tell.
	Version string
}

// Data is the ConfigMap's.
func (c Config) Data() map[string]string {
	data := map[string]string{clusterCIDR: c.ClusterCIDR.String(), serviceCIDR: c.ServiceCIDR.String(), clusterDomain: c.ClusterDomain, example: strconv.FormatBool(c.Example)}
	if c.Version != "" {
		data[programVersion] = c.Version
	}
	if c.ClusterCIDR6.IsValid() {
		data[clusterCIDR6], data[serviceCIDR6] = c.ClusterCIDR6.String(), c.ServiceCIDR6.String()
	}
	return data
}

// Pods are the ranges of the pods' addresses, that of IPv4 first.
func (c Config) Pods() []netip.Prefix { return both(c.ClusterCIDR, c.ClusterCIDR6) }

// Services are the ranges of the Services' addresses.
func (c Config) Services() []netip.Prefix { return both(c.ServiceCIDR, c.ServiceCIDR6) }

func both(four, six netip.Prefix) []netip.Prefix {
	if !six.IsValid() {
		return []netip.Prefix{four}
	}
	return []netip.Prefix{four, six}
}

// Format writes ranges as flags have them.
func Format(ranges []netip.Prefix) string {
	var texts []string
	for _, r := range ranges {
		texts = append(texts, r.String())
	}
	return strings.Join(texts, ",")
}

// Parse reads the ConfigMap's data. Keys that it does not know are for later versions.
func Parse(data map[string]string) (c Config, err error) {
	for key, into := range map[string]*netip.Prefix{clusterCIDR: &c.ClusterCIDR, serviceCIDR: &c.ServiceCIDR} {
		if *into, err = netip.ParsePrefix(data[key]); err != nil {
			return Config{}, fmt.Errorf("ConfigMap %s: %s %q is not a range of addresses", Name, key, data[key])
		}
	}
	_, six := data[clusterCIDR6]
	for key, into := range map[string]*netip.Prefix{clusterCIDR6: &c.ClusterCIDR6, serviceCIDR6: &c.ServiceCIDR6} {
		if *into, err = netip.ParsePrefix(data[key]); six && err != nil {
			return Config{}, fmt.Errorf("ConfigMap %s: %s %q is not a range of addresses", Name, key, data[key])
		}
	}
	c.ClusterDomain, c.Example, c.Version = data[clusterDomain], data[example] == "true", data[programVersion]
	return c, nil
}
