package preview

import (
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/support"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/foresee"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

// checklist collects checks.
type checklist struct {
	kustomization string
	list          []wire.Check
}

func (c *checklist) add(result, name, format string, args ...any) {
	c.list = append(c.list, wire.Check{Name: name, Kustomization: c.kustomization, Result: result, Message: fmt.Sprintf(format, args...)})
}

// checks are the policies and budgets that a plan is compared with.
func (p *planning) checks(one *planned, w *waits) []wire.Check {
	c := &checklist{kustomization: one.plan.Kustomization}
	if p.behind != "" {
		c.add(wire.CheckWarning, "history", "%s", p.behind)
	}
	p.suspended(c, one.ks)
	w.check(c, one)
	switch n := len(one.plan.Errors); {
	case n > 0 && n == one.shut:
	case one.denied:
		c.add(wire.CheckFailed, "spec.serviceAccountName", "%s", one.plan.Errors[0].Message)
	case n > 0:
		c.add(wire.CheckFailed, "validation", "%s: nothing of the commit would be applied", wire.Plural(n, "fault"))
	default:
		c.add(wire.CheckPassed, "validation", "%s valid", wire.Plural(len(one.res.Inventory), "object"))
	}
	if len(one.orphans) > 0 {
		c.add(wire.CheckWarning, "spec.serviceAccountName", "the account that the Kustomization acts as will not exist, which leaves %s that nobody else may delete: %s. Remove the account in a later commit",
			wire.Plural(len(one.orphans), "object"), someKeys(one.orphans))
	}
	unreadCheck(c, one)
	one.admission(c)
	one.needs(c)
	one.bounds(c)
	one.kept(c)
	one.autoscaled(c)
	one.recreations(c)
	one.ignored(c)
	one.foreign(c, p.source)
	scheduling(c, one.plan.Rollouts)
	return c.list
}

func (p *planning) suspended(c *checklist, ks *kustomizev1.Kustomization) {
	if ks.Spec.Suspend {
		c.add(wire.CheckWarning, "spec.suspend", "the Kustomization is suspended: nothing is applied before it is resumed")
	}
	if obj, spec := p.sourceObject(); obj != nil && spec.Suspend {
		c.add(wire.CheckWarning, "spec.suspend", "the %s %s/%s is suspended: nothing is fetched before it is resumed", p.source.Kind, p.source.Namespace, p.source.Name)
	}
}

// bounds tells which budgets and freezes the plan meets, and what pruning
// leaves.
func (one *planned) bounds(c *checklist) {
	bounded := false
	for _, g := range one.gates {
		bounded = bounded || g.Name == wire.GateMaxDeletes
		name := flux.OfGate(g.Name)
		words := map[string]string{wire.GateMaxDeletes: "deletion", wire.GateMaxRestarts: "restart"}
		switch {
		case !g.Open && g.Name == wire.GateFreeze:
			c.add(wire.CheckWarning, name, "%s", g.Message)
		case !g.Open:
			c.add(wire.CheckFailed, name, "%s", g.Message)
		case g.Message != "":
			c.add(wire.CheckPassed, name, "%s", g.Message)
		case g.Limit != nil:
			c.add(wire.CheckPassed, name, "%s, %d allowed", wire.Plural(g.Count, words[g.Name]), *g.Limit)
		}
	}
	if n := one.plan.Summary.Delete; n > 0 && !bounded {
		c.add(wire.CheckPassed, flux.OfGate(wire.GateMaxDeletes), "%s, no bound is set", wire.Plural(n, "deletion"))
	}
	if len(one.undeclared) > 0 {
		c.add(wire.CheckWarning, "spec.prune", "%s no longer declared, and stay because pruning is off: %s", wire.Plural(len(one.undeclared), "object"), someKeys(one.undeclared))
	}
}

// kept tells of what is no longer declared and stays for another's sake.
func (one *planned) kept(c *checklist) {
	told := false
	for _, a := range one.res.Actions {
		if a.Held && !told {
			told = true
			c.add(wire.CheckWarning, "spec.prune", "%s is not deleted yet: %s", flux.Describe(a.Key), a.Reason)
		}
		if a.Held {
			continue
		}
		if a.Type == plan.Skip && (a.Successor != nil && a.Successor.Unsure || one.deleted && (a.Key.GroupKind == flux.Namespace || a.Key.GroupKind == scheme.Definition)) {
			c.add(wire.CheckWarning, "spec.prune", "%s is not deleted: %s", flux.Describe(a.Key), a.Reason)
		}
	}
}

// autoscaled tells of what otherwise does not change, and whose number of replicas in
// Git an autoscaler keeps from having an effect: an update tells of that itself.
func (one *planned) autoscaled(c *checklist) {
	for _, a := range one.res.Actions {
		if a.Type == plan.Unchanged && a.Reason != "" {
			c.add(wire.CheckPassed, "autoscaling", "%s: %s", flux.Describe(a.Key), a.Reason)
		}
	}
}

// recreations tells of objects that lose their identity, and with it perhaps
// their pods.
func (one *planned) recreations(c *checklist) {
	var keys []object.Key
	for _, a := range one.res.Actions {
		if a.Recreate {
			keys = append(keys, a.Key)
		}
	}
	if len(keys) > 0 {
		c.add(wire.CheckWarning, "spec.force", "%s deleted and created again, because fields are immutable: %s", wire.Plural(len(keys), "object"), someKeys(keys))
	}
}

// foreign tells of what the commit would bring that this answer cannot show.
func (one *planned) foreign(c *checklist, source object.Key) {
	for _, a := range one.res.Actions {
		ks, ok := a.Object.(*kustomizev1.Kustomization)
		if ok && a.Type != plan.Unchanged && flux.SourceKey(ks) != source {
			c.add(wire.CheckWarning, "sources", "%s follows %s %s: what that brings is not in this plan", flux.Describe(a.Key), ks.Spec.SourceRef.Kind, ks.Spec.SourceRef.Name)
		}
		if a.Type != plan.Unchanged && a.Type != plan.Skip && a.Key == source {
			c.add(wire.CheckWarning, "sources", "%s itself changes: what it would bring then is not in this plan", flux.Describe(a.Key))
		}
	}
}

// scheduling reports whether the new pods would get nodes.
func scheduling(c *checklist, rollouts []wire.Rollout) {
	fits := 0
	for _, r := range rollouts {
		name := r.Kind + "/" + r.Name
		if r.Namespace != "" {
			name = r.Kind + "/" + r.Namespace + "/" + r.Name
		}
		if preempts := r.Preemption(5); preempts != "" {
			c.add(wire.CheckWarning, "scheduling", "%s: %s %s", name, wire.Plural(r.New-r.Pending, "new pod"), preempts)
		}
		if r.Refused > 0 {
			c.add(wire.CheckWarning, "admission", "%s: %d of %s would be refused when they are made: %s", name, r.Refused, wire.Plural(r.New, "new pod"), r.Refusal)
		}
		switch r.Schedule {
		case wire.ScheduleUnschedulable:
			c.add(wire.CheckWarning, "scheduling", "%s: %d of %s would stay pending: %s", name, r.Pending, wire.Plural(r.New, "new pod"), r.Message)
		case wire.ScheduleStuck:
			c.add(wire.CheckWarning, "scheduling", "%s: the update would stand still with %d of %s pending. They fit once old pods have left, but those may not leave before "+
				"(maxUnavailable %d, maxSurge %d): raise maxUnavailable, use the strategy Recreate, or make room. The scheduler says: %s",
				name, r.Pending, wire.Plural(r.New, "new pod"), r.MaxUnavailable, r.MaxSurge, r.Message)
		case wire.ScheduleFitsLate:
			c.add(wire.CheckPassed, "scheduling", "%s: %d of %s fit only where old pods leave, one after the other", name, r.Late, wire.Plural(r.New, "new pod"))
		case wire.ScheduleFits:
			fits += r.New - r.Refused
		}
	}
	if fits > 0 {
		c.add(wire.CheckPassed, "scheduling", "there is room for %s beside today's", wire.Plural(fits, "new pod"))
	}
}

// someKeys names the first objects and counts the rest.
func someKeys(keys []object.Key) string {
	const most = 5
	var names []string
	for i, key := range keys {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(keys)-most))
			break
		}
		names = append(names, flux.Describe(key))
	}
	return strings.Join(names, ", ")
}

// unreadCheck names the Secrets that a plan was made without.
func unreadCheck(c *checklist, one *planned) {
	if len(one.unread) > 0 {
		c.add(wire.CheckWarning, "secrets", "you may not read %s: what depends on it is left out of this plan, and is neither compared nor validated", someKeys(one.unread))
	}
}

// admission adds to the checks what admission says.
func (one *planned) admission(c *checklist) {
	const name = "pod-security"
	f := one.foreseen
	for _, w := range f.Warnings {
		check := "admission" // of a webhook or a policy
		if foresee.PodSecurity(w) {
			check = name
		}
		c.add(wire.CheckWarning, check, "%s", w)
	}
	if f.Unasked > 0 {
		c.add(wire.CheckWarning, "admission", "what it says of %s is not known before it is applied: %s", wire.Plural(f.Unasked, "object"), f.Impatient)
	}
	if f.More > 0 {
		c.add(wire.CheckWarning, name, "%s more with pods that would be refused or warned of", wire.Plural(f.More, "object"))
	}
	if len(f.Unread) > 0 {
		c.add(wire.CheckWarning, name, "you may not read %s: whether it lets the pods in is not known", someKeys(f.Unread))
	}
}

// maxMissing is how many missing objects a plan names.
const maxMissing = 20

// needs tells what pods would wait for in vain.
func (one *planned) needs(c *checklist) {
	for _, text := range one.missing[:min(len(one.missing), maxMissing)] {
		c.add(wire.CheckWarning, "references", "%s", text)
	}
	if more := len(one.missing) - maxMissing; more > 0 {
		c.add(wire.CheckWarning, "references", "%s more missing", wire.Plural(more, "object"))
	}
}

// maxIgnored is how many fields without effect a plan names.
const maxIgnored = 20

// ignored tells of fields that the commit sets and that have no effect.
func (one *planned) ignored(c *checklist) {
	named, more := 0, 0
	for _, a := range one.res.Actions {
		if a.Type != plan.Create && a.Type != plan.Update {
			continue
		}
		for _, w := range support.Warnings(a.Object) {
			if named == maxIgnored {
				more++
				continue
			}
			named++
			c.add(wire.CheckWarning, w.Field, "%s: %s", flux.Describe(a.Key), w)
		}
	}
	if more > 0 {
		c.add(wire.CheckWarning, "fields", "%s more without effect", wire.Plural(more, "field"))
	}
}
