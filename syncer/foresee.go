package syncer

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// maxForeseen is how many warnings a plan tells.
const maxForeseen = 20

// foreseen is what the admission of the store says of a plan's objects, besides
// faults: warnings, and the namespaces whose policy the caller may not read.
type foreseen struct {
	warnings []string
	more     int
	unread   []object.Key
}

// decides reports whether what pods may do depends on an object: the policy of
// a namespace is its labels', and that of who deploys to it.
func decides(key object.Key) bool {
	return key.GroupKind == flux.Namespace || key.GroupKind == flux.Kustomization
}

// foresee holds all plans against the policies as the whole commit leaves them.
// Of whom the caller may not read nothing counts.
func (p *planning) foresee() {
	if p.s.cfg.Foresee == nil {
		return
	}
	changed := map[object.Key]object.Object{}
	for _, one := range p.order {
		if len(one.plan.Errors) > one.held || one.ks.Spec.Suspend {
			continue // it would not be applied
		}
		for _, a := range one.res.Actions {
			if a.Writes() && decides(a.Key) {
				changed[a.Key] = a.Object
			}
		}
	}
	sees := func(key object.Key) bool { return p.s.rights.Permitted(p.ctx, "get", key) == nil }
	view := rights.NewAfterwards(visible{&overlay{p.s.env.Store, p.namespaces}, sees}, changed)
	for _, one := range p.order {
		known := len(one.res.Errors)
		one.foreseen = p.s.foresee(&one.res, view, sees)
		if refused := one.res.Errors[known:]; len(refused) > 0 {
			one.plan.Errors = append(fault.Faults(&fault.Invalid{Errs: refused}), one.plan.Errors...)
		}
	}
}

// visible lists only what may be spoken of.
type visible struct {
	object.Reader
	sees func(object.Key) bool
}

// List implements object.Reader.
func (v visible) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	list, revision := v.Reader.List(kind, namespace)
	return slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
		key, err := plan.KeyOf(obj)
		return err != nil || !v.sees(key)
	}), revision
}

// foreseeable is the cluster as a group leaves it, to hold a plan of one of its
// members against.
func (g *group) foreseeable(self object.Key) rights.Afterwards {
	changed := map[object.Key]object.Object{}
	for key, w := range g.written {
		if decides(key) && w.by.k.key != self {
			changed[key] = w.obj
		}
	}
	return rights.NewAfterwards(g.s.env.Store, changed)
}

// foresee adds to a plan's faults what the store would refuse it for, at the
// object's file and line, and says what is to be told besides. view is the
// cluster as it will be; sees reports which namespaces may be spoken of, nil for
// all.
func (s *Syncer) foresee(res *plan.Result, view object.Reader, sees func(object.Key) bool) foreseen {
	var f foreseen
	if s.cfg.Foresee == nil {
		return f
	}
	planned := rights.NewAfterwards(view, map[object.Key]object.Object{})
	for _, a := range res.Actions {
		if a.Writes() && decides(a.Key) {
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
		warning, refused := s.cfg.Foresee(planned, a.Object, old)
		if refused == nil && warning == "" {
			continue
		}
		ns := object.Key{GroupKind: flux.Namespace, Name: a.Key.Namespace}
		switch stored := view.Get(ns); {
		case a.Key.Namespace != "" && stored != nil && sees != nil && !sees(ns):
			if !unread[ns] {
				unread[ns] = true
				f.unread = append(f.unread, ns)
			}
		case refused != nil:
			res.Errors = append(res.Errors, &plan.Error{Source: a.Source, Key: a.Key, Reason: refused.Error()})
		case len(f.warnings) == maxForeseen:
			f.more++
		default:
			f.warnings = append(f.warnings, flux.Describe(a.Key)+": "+warning)
		}
	}
	return f
}

// tell adds what was foreseen to the checks.
func (f foreseen) tell(c *checklist) {
	const name = "pod-security"
	for _, w := range f.warnings {
		c.add(wire.CheckWarning, name, "%s", w)
	}
	if f.more > 0 {
		c.add(wire.CheckWarning, name, "%s more with pods that would be refused or warned of", wire.Plural(f.more, "object"))
	}
	if len(f.unread) > 0 {
		c.add(wire.CheckWarning, name, "you may not read %s: whether it lets the pods in is not known", someKeys(f.unread))
	}
}

// tellForeseen records events with what is stored and warned of.
func (k *kustomization) tellForeseen(f foreseen, actions []plan.Action) {
	for _, a := range actions {
		prefix := flux.Describe(a.Key) + ": "
		for _, w := range f.warnings {
			if a.Object != nil && len(w) > len(prefix) && w[:len(prefix)] == prefix {
				k.s.env.Record(a.Object, corev1.EventTypeWarning, "PodSecurity", flux.Bounded(w[len(prefix):]))
			}
		}
	}
}
