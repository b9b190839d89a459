package lifecycle

import (
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

var (
	typeDeployment    = reflect.TypeFor[*appsv1.Deployment]()
	typeReplicaSet    = reflect.TypeFor[*appsv1.ReplicaSet]()
	typeEndpointSlice = reflect.TypeFor[*discoveryv1.EndpointSlice]()
)

var deploymentStrategy = strategy{
	create: create1(func(d *appsv1.Deployment) { d.Status = appsv1.DeploymentStatus{} }),
	update: update2(func(d, old *appsv1.Deployment) { d.Status = old.Status }),
	updateStatus: update2(func(d, old *appsv1.Deployment) {
		d.Spec = old.Spec
		d.Labels = old.Labels
	}),
	// Annotations count too: the controller copies them to the replica sets.
	changed: changed2(func(d, old *appsv1.Deployment) bool {
		return differ(d.Spec, old.Spec) || differ(d.Annotations, old.Annotations)
	}),
}

var replicaSetStrategy = strategy{
	create:       create1(func(rs *appsv1.ReplicaSet) { rs.Status = appsv1.ReplicaSetStatus{} }),
	update:       update2(func(rs, old *appsv1.ReplicaSet) { rs.Status = old.Status }),
	updateStatus: update2(func(rs, old *appsv1.ReplicaSet) { rs.Spec = old.Spec }),
	changed:      changed2(func(rs, old *appsv1.ReplicaSet) bool { return differ(rs.Spec, old.Spec) }),
}

// An endpoint slice has no spec: everything but the metadata counts, and the
// labels, which say whose slice it is.
var endpointSliceStrategy = strategy{
	changed: changed2(func(s, old *discoveryv1.EndpointSlice) bool {
		return s.AddressType != old.AddressType || differ(s.Endpoints, old.Endpoints) ||
			differ(s.Ports, old.Ports) || differ(s.Labels, old.Labels)
	}),
}
