package preview

import (
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/content"
	"headway.dev/syncer/wire"
)

// planned is one Kustomization and its plan.
type planned struct {
	// gates are the bounds that the plan meets; shut counts those among the
	// errors.
	gates      []wire.Gate
	shut       int
	ks         *kustomizev1.Kustomization
	parent     string
	deleted    bool
	arrives    bool // or is changed, by the plan of parent
	denied     bool // to the account that the Kustomization acts as
	times      int
	plan       wire.Plan
	items      []load.Item // that it declares; none if they are not known
	res        plan.Result
	grants     map[object.Key]object.Object // see grantsOf
	undeclared []object.Key                 // no longer declared, and kept
	// orphans stay because the account that would delete them is gone.
	orphans  []object.Key
	unread   []object.Key // Secrets that the plan was made without
	foreseen foresee.Said
	missing  []string // what its pods need and would not find
}

// show is what a plan's actions look like in the answer.
func (one *planned) show() {
	one.plan.Summary = wire.Summary{}
	for _, a := range one.res.Actions {
		count(&one.plan.Summary, a)
	}
	one.plan.Actions = one.res.WireActions(true)
	before, after := content.Sides(one.res)
	one.plan.Summary.Replace = content.Describe(one.plan.Actions, before, after, content.Declared(one.items))
}

// empty leaves nothing of the plan to report.
func (one *planned) empty() {
	one.res, one.grants, one.gates, one.shut, one.undeclared, one.foreseen, one.missing = plan.Result{}, nil, nil, 0, nil, foresee.Said{}, nil
	one.plan.Actions, one.plan.Summary = []wire.Action{}, wire.Summary{}
}

// undeclared are the keys of an inventory that a plan does not want any more.
func undeclared(inventory []object.Key, res plan.Result) []object.Key {
	wanted := keySet(res.Inventory)
	return slices.DeleteFunc(slices.Clone(inventory), func(key object.Key) bool { return wanted[key] })
}

func count(sum *wire.Summary, a plan.Action) {
	switch a.Type {
	case plan.Create:
		sum.Create++
	case plan.Update:
		sum.Update++
	case plan.Delete:
		sum.Delete++
	case plan.Unchanged, plan.Skip:
		sum.Unchanged++
	}
	if a.Restart {
		sum.Restart++
	}
}

func keySet(keys []object.Key) map[object.Key]bool {
	m := make(map[object.Key]bool, len(keys))
	for _, key := range keys {
		m[key] = true
	}
	return m
}

// plans are those of one answer, as they were found.
type plans struct {
	order []*planned
	done  map[object.Key]*planned
}

// named is the planned Kustomization of a name.
func (l *plans) named(name string) *planned {
	for _, one := range l.order {
		if one.ks.Namespace+"/"+one.ks.Name == name {
			return one
		}
	}
	return nil
}

// grants reports whether a plan changes what accounts may do.
func (l *plans) grants() bool {
	return slices.ContainsFunc(l.order, func(one *planned) bool { return len(one.grants) > 0 })
}

// precedes reports whether another plan would be carried out before that of one
// is: not if it is refused or suspended, or waits for one. What a commit
// declares comes with what declares it, whatever may hold that up.
func (l *plans) precedes(other, one *planned) bool {
	if one.arrives && one.parent == other.plan.Kustomization {
		return true
	}
	return len(other.plan.Errors) == 0 && !other.ks.Spec.Suspend && !l.dependsOn(other, flux.KeyOf(one.ks), map[*planned]bool{})
}

// dependsOn reports whether a Kustomization depends on another, also by others.
func (l *plans) dependsOn(one *planned, key object.Key, seen map[*planned]bool) bool {
	if one == nil || one.deleted || seen[one] {
		return false
	}
	seen[one] = true
	return slices.ContainsFunc(flux.Dependencies(one.ks), func(dep object.Key) bool { return dep == key || l.dependsOn(l.done[dep], key, seen) })
}

// sort orders the plans as they would be applied: after what they depend on,
// and otherwise as they were found, parents first.
func (l *plans) sort() {
	byName := map[string]*planned{}
	for _, one := range l.order {
		byName[one.plan.Kustomization] = one
	}
	var sorted []*planned
	visited := map[*planned]bool{}
	var visit func(*planned)
	visit = func(one *planned) {
		if one == nil || visited[one] {
			return
		}
		visited[one] = true
		for _, d := range one.plan.DependsOn {
			visit(byName[d])
		}
		sorted = append(sorted, one)
	}
	for _, one := range l.order {
		visit(one)
	}
	l.order = sorted
}
