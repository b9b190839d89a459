package coordination

import (
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

var lease = kind.Define[coordinationv1.Lease, coordinationv1.LeaseList](kind.Definition[*coordinationv1.Lease]{
	Names: kind.Names{
		GroupVersionKind: coordinationv1.SchemeGroupVersion.WithKind("Lease"),
		Plural:           "leases", Singular: "lease",
		Namespaced: true,
	},
	Order:    kind.Anywhere,
	Volatile: true,
	REST:     kind.REST{CreateOnUpdate: true, VersionRequired: true},
	Rules: kind.Rules[*coordinationv1.Lease]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object:       validateLease,
	},
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

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(rule.Spec.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(rule.Spec.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	if s := l.Spec.Strategy; s != nil {
		errs = append(errs, leaseStrategy(*s, rule.Spec.Child("strategy", "strategy"))...) // twice, as in the API
	}
	named := l.Spec.Strategy != nil && *l.Spec.Strategy != ""
	if holder := l.Spec.PreferredHolder; holder != nil && *holder != "" && !named {
		errs = append(errs, field.Forbidden(rule.Spec.Child("preferredHolder"), "may only be specified if `strategy` is defined"))
	}
	return errs
}

// leaseStrategy requires Kubernetes' own strategy, or one with a domain.
func leaseStrategy(s coordinationv1.CoordinatedLeaseStrategy, path *field.Path) field.ErrorList {
	if strings.Contains(string(s), "/") {
		return rule.QualifiedName(string(s), path)
	}
	return rule.NotSupported(s, path, coordinationv1.OldestEmulationVersion)
}
