package coordination

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
)

var lease = kind.Define[coordinationv1.Lease, coordinationv1.LeaseList](kind.Definition[*coordinationv1.Lease]{
	Names: kind.Names{
		GroupVersionKind: coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Plural:           "leases", Singular: "lease",
		Namespaced: true,
	},
	REST: kind.REST{CreateOnUpdate: true, VersionRequired: true},
	Table: kind.Table[*coordinationv1.Lease]{
		Columns: column.Define("Name", "Holder", "Age"),
		Row:     leaseRow,
	},
})

func leaseRow(l *coordinationv1.Lease, now time.Time) []any {
	holder := ""
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	return []any{l.Name, holder, column.Age(l, now)}
}
