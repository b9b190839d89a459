package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"

	"headway.dev/manifests/model/kind"
)

var lease = kind.Define[coordinationv1.Lease, coordinationv1.LeaseList](kind.Definition[*coordinationv1.Lease]{
	Names: kind.Names{
		GroupVersionKind: coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Plural:           "leases", Singular: "lease",
		Namespaced: true,
	},
})
