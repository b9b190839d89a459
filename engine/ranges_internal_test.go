package engine

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

type told struct {
	object.Reader
	settings *corev1.ConfigMap
	nodes    []object.Object
}

func (s told) Get(object.Key) object.Object {
	if s.settings == nil {
		return nil
	}
	return s.settings
}

func (s told) List(schema.GroupKind, string) ([]object.Object, uint64) { return s.nodes, 0 }

// The ranges of addresses stay once there are nodes.
func TestRangesStay(t *testing.T) {
	of := func(pods, services string) nodeconfig.Config {
		return nodeconfig.Config{ClusterCIDR: netip.MustParsePrefix(pods), ServiceCIDR: netip.MustParsePrefix(services)}
	}
	had := of("10.42.0.0/16", "10.43.0.0/16")
	settings := &corev1.ConfigMap{Data: had.Data()}
	nodes := []object.Object{&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}}
	for name, test := range map[string]struct {
		stored told
		want   nodeconfig.Config
		err    string
	}{
		"a new cluster":  {told{}, had, ""},
		"the same":       {told{settings: settings, nodes: nodes}, had, ""},
		"no nodes":       {told{settings: settings}, of("10.52.0.0/16", "10.53.0.0/16"), ""},
		"edited":         {told{settings: &corev1.ConfigMap{}, nodes: nodes}, had, ""},
		"other pods":     {told{settings: settings, nodes: nodes}, of("10.52.0.0/16", "10.43.0.0/16"), "--cluster-cidr 10.52.0.0/16: the cluster has 10.42.0.0/16, and 1 nodes with it: start with --cluster-cidr 10.42.0.0/16"},
		"a smaller one":  {told{settings: settings, nodes: nodes}, of("10.42.0.0/17", "10.43.0.0/16"), "--cluster-cidr 10.42.0.0/17"},
		"other Services": {told{settings: settings, nodes: nodes}, of("10.42.0.0/16", "10.53.0.0/16"), "--service-cidr 10.53.0.0/16: the cluster has 10.43.0.0/16"},
	} {
		err := checkRanges(test.stored, test.want)
		if (err == nil) != (test.err == "") || err != nil && !strings.HasPrefix(err.Error(), test.err) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
	}
}
