// Package nodeconfig is what the server tells nodes of the cluster: a ConfigMap in
// kube-system that all nodes may read. Servers of one version later only add keys.
package nodeconfig

import (
	"fmt"
	"net/netip"
	"strconv"
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
const clusterCIDR, serviceCIDR, clusterDomain, example, programVersion = "clusterCIDR", "serviceCIDR", "clusterDomain", "example", "version"

// Config is what nodes are configured by.
type Config struct {
	// ClusterCIDR and ServiceCIDR are the ranges of the pods' and the Services' addresses.
	ClusterCIDR, ServiceCIDR netip.Prefix
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
	return data
}

// Parse reads the ConfigMap's data. Keys that it does not know are for later versions.
func Parse(data map[string]string) (c Config, err error) {
	for key, into := range map[string]*netip.Prefix{clusterCIDR: &c.ClusterCIDR, serviceCIDR: &c.ServiceCIDR} {
		if *into, err = netip.ParsePrefix(data[key]); err != nil {
			return Config{}, fmt.Errorf("ConfigMap %s: %s %q is not a range of addresses", Name, key, data[key])
		}
	}
	c.ClusterDomain, c.Example, c.Version = data[clusterDomain], data[example] == "true", data[programVersion]
	return c, nil
}
