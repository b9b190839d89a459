package foresee

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
)

var (
	quotaKind = schema.GroupKind{Kind: "ResourceQuota"}
	rangeKind = schema.GroupKind{Kind: "LimitRange"}
	classKind = schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}
	// runtimeKind is the kind of what pods are run by.
	runtimeKind = schema.GroupKind{Group: "node.k8s.io", Kind: "RuntimeClass"}
	// ingressClassKind is the kind of what Ingresses are served by, also those that name
	// none.
	ingressClassKind = schema.GroupKind{Group: "networking.k8s.io", Kind: "IngressClass"}
)

// maxWarnings is how many warnings of a plan are reported.
const maxWarnings = 20

// Ask is a write that is planned.
type Ask struct {
	// View is the cluster that it comes upon.
	View object.Reader
	// By is the user who writes; one without a name is the cluster itself.
	By change.User
	// Object is stored in the place of Old, which is nil for a creation.
	Object, Old object.Object
	// Replaced is what is deleted before, to make room for it.
	Replaced object.Object
	// Changes asks only what would be changed, and not whether it would be refused.
	Changes bool
	// Subresource is the part of the object that is written; empty for all of it.
	Subresource string
}

// Answer is what would come of it: the object as it would be stored, what users would be warned of, or why it
// would be refused.
type Answer struct {
	Object   object.Object
	Warnings []string
	Refused  error
	// Along are other objects as they would be with it: quotas, which count what a plan
	// has before.
	Along []object.Object
}

// Func asks the admission of the store, which may wait for webhooks until the context
// ends. One that is nil says nothing.
type Func func(context.Context, Ask) Answer

// Said is what the admission of the store says of a plan's objects, besides
// faults: warnings, how many more there are, the namespaces whose policy the caller
// may not read, and what counts for the plans that come after it.
type Said struct {
	Warnings []string
	More     int
	Unread   []object.Key
	// Unasked counts the objects about which nothing was asked, as Impatient says.
	Unasked   int
	Impatient error
	Along     map[object.Key]object.Object
}

// Decides reports whether what is said of other objects depends on an object:
// what pods may do is up to the labels of their namespace and to who deploys to
// it, they need their account and their class, and what is there counts; Ingresses get the
// class that is the default; and custom
// resources are asked about by the names in their definition.
func Decides(key object.Key) bool {
	switch key.GroupKind {
	case flux.Namespace, flux.Kustomization, flux.ServiceAccount, quotaKind, rangeKind, classKind, runtimeKind, ingressClassKind, scheme.Definition:
		return true
	}
	return false
}

// Ask asks, as long as the patience of ctx allows it; over is why it was not asked.
func (f Func) Ask(ctx context.Context, a Ask) (answer Answer, over error) {
	over = change.PatienceIn(ctx).Ask(func() { answer = f(ctx, a) })
	return answer, over
}

// Admit returns for plan.Input what admission makes of objects that by writes upon
// what is stored, or creates. What it refuses is left to Plan, which tells why.
func (f Func) Admit(ctx context.Context, stored object.Reader, by change.User) func(next, live object.Object) (made object.Object, known bool) {
	if f == nil {
		return nil
	}
	return func(next, live object.Object) (object.Object, bool) {
		answer, over := f.Ask(ctx, Ask{View: stored, By: by, Object: next, Old: live, Changes: true})
		if over != nil || answer.Refused != nil {
			return nil, over == nil
		}
		return answer.Object, true
	}
}

// Plan adds to a plan's faults what the store would refuse it for, at the
// object's file and line, and says what else is to be reported. view is the
// cluster as it will be, by who carries the plan out; sees reports which
// namespaces may be spoken of, nil for all. Once ctx ends, or its patience, nothing more is asked.
func (f Func) Plan(ctx context.Context, res *plan.Result, view object.Reader, by change.User, sees func(object.Key) bool) Said {
	along := map[object.Key]object.Object{}
	said := Said{Along: along}
	if f == nil {
		return said
	}
	planned := rights.NewAfterwards(view, map[object.Key]object.Object{})
	for _, a := range res.Actions {
		if a.Writes() && Decides(a.Key) {
			planned.Changed[a.Key] = a.Object
		}
	}
	unread := map[object.Key]bool{}
	for _, a := range res.Actions {
		if a.Type != plan.Create && a.Type != plan.Update || a.Object == nil {
			continue
		}
		old := a.Live
		if a.Recreate {
			old = nil
		}
		next := a.Object
		if a.Part != "" {
			next = a.Rest()
		}
		answer, over := f.Ask(ctx, Ask{View: planned, By: by, Object: next, Old: old, Replaced: a.Live})
		if over != nil {
			said.Unasked, said.Impatient = said.Unasked+1, over
			continue
		}
		if a.Part != "" && answer.Refused == nil {
			part, over := f.Ask(ctx, Ask{View: planned, By: by, Object: a.Object, Old: next, Replaced: a.Live, Subresource: a.Part})
			if over != nil {
				said.Unasked, said.Impatient = said.Unasked+1, over
			}
			answer.Along = append(answer.Along, part.Along...)
			answer.Warnings, answer.Refused = append(answer.Warnings, part.Warnings...), part.Refused
		}
		if ctx.Err() != nil {
			break // that is no answer
		}
		for _, obj := range answer.Along {
			if key, err := plan.KeyOf(obj); err == nil {
				planned.Changed[key], along[key] = obj, obj
			}
		}
		if answer.Refused == nil && len(answer.Warnings) == 0 {
			continue
		}
		ns := object.Key{GroupKind: flux.Namespace, Name: a.Key.Namespace}
		switch stored := view.Get(ns); {
		case a.Key.Namespace != "" && stored != nil && sees != nil && !sees(ns):
			if !unread[ns] {
				unread[ns] = true
				said.Unread = append(said.Unread, ns)
			}
		case answer.Refused != nil:
			res.Errors = append(res.Errors, &plan.Error{Source: a.Source, Key: a.Key, Reason: answer.Refused.Error()})
		case len(said.Warnings) >= maxWarnings:
			said.More++
		default:
			for _, w := range answer.Warnings {
				if len(said.Warnings) >= maxWarnings {
					said.More++
					break
				}
				said.Warnings = append(said.Warnings, flux.Describe(a.Key)+": "+w)
			}
		}
	}
	return said
}

// PodSecurity reports whether a warning is about what pods may do; others are
// those of webhooks and policies.
func PodSecurity(warning string) bool { return strings.Contains(warning, "PodSecurity") }

// Record records events with what is stored and warned of.
func (s Said) Record(e *env.Env, actions []plan.Action) {
	for _, a := range actions {
		prefix := flux.Describe(a.Key) + ": "
		for _, w := range s.Warnings {
			if a.Object != nil && len(w) > len(prefix) && w[:len(prefix)] == prefix {
				reason := "AdmissionWarning"
				if PodSecurity(w) {
					reason = "PodSecurity"
				}
				e.Record(a.Object, corev1.EventTypeWarning, reason, flux.Bounded(w[len(prefix):]))
			}
		}
	}
}
