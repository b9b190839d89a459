package plan

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
)

// unseenReason is reported where a plan must not compare with what is stored.
const unseenReason = "you may not read it: compared is what Git declared before, not what is stored"

// unseen decides about a wanted object of which nothing that is stored may
// show: by what Git declares now and what it declared when it was applied last.
func (p *Planner) unseen(in Input, key object.Key, item load.Item, wanted *wanted, stored object.Reader) (Action, []*Error) {
	delete(p.memo, key)
	a := Action{Type: Create, Key: key, Source: item.Source, want: item.Object, Reason: unseenReason}
	if reason := excluded(item.Object, nil); reason != "" {
		a.Type, a.Reason = Skip, reason
		return a, nil
	}
	if key.Namespace != "" {
		if reason := namespaceFault(key.Namespace, wanted, stored); reason != "" {
			return Action{}, []*Error{{Source: item.Source, Key: key, Reason: reason}}
		}
	}
	p.compared++
	var defined *kind.Kind
	if _, custom := item.Object.(*unstructured.Unstructured); custom {
		var errs []*Error
		if defined, errs = p.kinds.defined(key, item, nil, stored); len(errs) > 0 {
			return Action{}, errs
		}
	}
	next, errs := p.applier.apply(in, defined, key, item, nil)
	if len(errs) > 0 {
		return Action{}, errs
	}
	a.Kind = next.kind
	if !slices.Contains(in.Inventory, key) {
		a.Object = next.object
		return a, nil
	}
	if before := in.Before[key]; before != nil && equality.Semantic.DeepEqual(before, item.Object) {
		a.Type, a.Reason = Unchanged, ""
		return a, nil
	}
	a.Type, a.Object, a.Live = Update, next.object, next.object
	return a, nil
}
