package flowcontrol

import (
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// What a level has that does not say otherwise, and how many queues it may have.
const (
	defaultShares   = 30
	defaultQueues   = 64
	defaultHand     = 8
	defaultInQueue  = 50
	mostQueuesEvery = 10_000_000
)

// priorityLevelConfiguration is a share of what the API server does at once, and
// the queues of what waits for it.
// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
var priorityLevelConfiguration = kind.Define[flowcontrolv1.PriorityLevelConfiguration, flowcontrolv1.PriorityLevelConfigurationList](kind.Definition[*flowcontrolv1.PriorityLevelConfiguration]{
	Names: kind.Names{
		GroupVersionKind: flowcontrolv1.SchemeGroupVersion.WithKind("PriorityLevelConfiguration"),
		Plural:           "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
	},
	Order:   kind.Anywhere,
	Status:  true,
	REST:    kind.REST{StatusResets: []string{"metadata"}},
	Default: defaultLevel,
	Lifecycle: lifecycle(func(l *flowcontrolv1.PriorityLevelConfiguration) parts[flowcontrolv1.PriorityLevelConfigurationSpec, flowcontrolv1.PriorityLevelConfigurationStatus] {
		return parts[flowcontrolv1.PriorityLevelConfigurationSpec, flowcontrolv1.PriorityLevelConfigurationStatus]{&l.ObjectMeta, &l.Spec, &l.Status}
	}),
	Rules: kind.Rules[*flowcontrolv1.PriorityLevelConfiguration]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateLevel,
		Status: func(l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
			return validateLevelConditions(l)
		},
	},
	Table: kind.Table[*flowcontrolv1.PriorityLevelConfiguration]{
		Columns: column.Define("Name", "Type", "NominalConcurrencyShares", "Queues", "HandSize", "QueueLengthLimit", "Age"),
		Row:     levelRow,
	},
	Health: current[*flowcontrolv1.PriorityLevelConfiguration](),
})

func levelRow(l *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
	shares, queues, hand, length := any(column.None), any(column.None), any(column.None), any(column.None)
	if limited := l.Spec.Limited; limited != nil {
		if n := limited.NominalConcurrencyShares; n != nil {
			shares = int64(*n)
		}
		if q := limited.LimitResponse.Queuing; q != nil {
			queues, hand, length = int64(q.Queues), int64(q.HandSize), int64(q.QueueLengthLimit)
		}
	}
	return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, column.Age(l, now)}
}

func defaultLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if exempt := l.Spec.Exempt; exempt != nil {
		fill.Unset(&exempt.NominalConcurrencyShares, 0)
		fill.Unset(&exempt.LendablePercent, 0)
	}
	limited := l.Spec.Limited
	if limited == nil {
		return
	}
	fill.Unset(&limited.NominalConcurrencyShares, defaultShares)
	fill.Unset(&limited.LendablePercent, 0)
	if q := limited.LimitResponse.Queuing; q != nil {
		fill.Zero(&q.Queues, defaultQueues)
		fill.Zero(&q.HandSize, defaultHand)
		fill.Zero(&q.QueueLengthLimit, defaultInQueue)
	}
}

func validateLevel(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	spec := &l.Spec
	var errs field.ErrorList
	if (l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (spec.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(rule.Spec.Child("type"), spec.Type, "type must be 'Exempt' if and only if name is 'exempt'"))
	}
	exempt, limited := rule.Spec.Child("exempt"), rule.Spec.Child("limited")
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if spec.Limited != nil {
			errs = append(errs, field.Forbidden(limited, "must be nil if the type is not Limited"))
		}
		if e := spec.Exempt; e != nil {
			errs = append(errs, validateShares(e.NominalConcurrencyShares, e.LendablePercent, exempt)...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Exempt != nil {
			errs = append(errs, field.Forbidden(exempt, "must be nil if the type is Limited"))
		}
		if spec.Limited == nil {
			errs = append(errs, field.Required(limited, "must not be empty when type is Limited"))
		} else {
			errs = append(errs, validateLimited(spec.Limited, limited)...)
		}
	default:
		errs = append(errs, rule.OneOf(spec.Type, rule.Spec.Child("type"), flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)...)
	}
	return append(append(errs, validateFixed(l)...), validateLevelConditions(l)...)
}

// validateFixed keeps the levels that every server needs as they are; only how
// much the exempt one lends is the administrator's.
func validateFixed(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		if fixed.Name != l.Name {
			continue
		}
		spec, message := l.Spec.DeepCopy(), "spec of '%s' must equal the fixed value"
		if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			spec.Exempt, message = fixed.Spec.Exempt, "spec of '%s' except the 'spec.exempt' field must equal the fixed value"
		}
		if !equality.Semantic.DeepEqual(*spec, fixed.Spec) {
			return field.ErrorList{field.Invalid(rule.Spec, l.Spec, fmt.Sprintf(message, l.Name))}
		}
	}
	return nil
}

func validateShares(shares, lendable *int32, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if shares != nil && *shares < 0 {
		errs = append(errs, field.Invalid(path.Child("nominalConcurrencyShares"), *shares, "must be a non-negative integer"))
	}
	if lendable != nil && (*lendable < 0 || *lendable > 100) {
		errs = append(errs, field.Invalid(path.Child("lendablePercent"), *lendable, "must be between 0 and 100, inclusive"))
	}
	return errs
}

func validateLimited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, path *field.Path) field.ErrorList {
	errs := validateShares(l.NominalConcurrencyShares, l.LendablePercent, path)
	if b := l.BorrowingLimitPercent; b != nil && *b < 0 {
		errs = append(errs, field.Invalid(path.Child("borrowingLimitPercent"), *b, "if specified, must be a non-negative integer"))
	}
	response := path.Child("limitResponse")
	queuing := response.Child("queuing")
	switch q := l.LimitResponse.Queuing; l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if q != nil {
			errs = append(errs, field.Forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited"))
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if q == nil {
			return append(errs, field.Required(queuing, "must not be empty if limited.limitResponse.type is Limited"))
		}
		errs = append(errs, validateQueues(q, queuing)...)
	default:
		errs = append(errs, rule.OneOf(l.LimitResponse.Type, response.Child("type"), flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
	return errs
}

func validateQueues(q *flowcontrolv1.QueuingConfiguration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	wrong := func(name string, value int32, format string, args ...any) {
		errs = append(errs, field.Invalid(path.Child(name), value, fmt.Sprintf(format, args...)))
	}
	if q.QueueLengthLimit <= 0 {
		wrong("queueLengthLimit", q.QueueLengthLimit, "must be positive")
	}
	switch {
	case q.Queues <= 0:
		wrong("queues", q.Queues, "must be positive")
	case q.Queues > mostQueuesEvery:
		wrong("queues", q.Queues, "must not be greater than %d", mostQueuesEvery)
	}
	switch {
	case q.HandSize <= 0:
		wrong("handSize", q.HandSize, "must be positive")
	case q.HandSize > q.Queues:
		wrong("handSize", q.HandSize, "should not be greater than queues (%d)", q.Queues)
	default:
		if bits := shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)); bits > shufflesharding.MaxHashBits {
			wrong("handSize", q.HandSize, "required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, shufflesharding.MaxHashBits)
		}
	}
	return errs
}

func validateLevelConditions(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	types := make([]string, len(l.Status.Conditions))
	for i, c := range l.Status.Conditions {
		types[i] = string(c.Type)
	}
	return validateConditionTypes(types)
}
