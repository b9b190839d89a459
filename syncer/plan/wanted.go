package plan

import (
	"fmt"
	"sort"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
)

// wanted is what the items of a plan are, by key. It does not change once it
// is made.
type wanted struct {
	items []load.Item
	keys  []object.Key // of the items
	at    map[object.Key]int
	// order are the items in the order in which they are carried out, sorted
	// their keys.
	order  []int
	sorted []object.Key
}

// newWanted takes the keys and their order over from the plan before where the
// items are its own but for some of the same keys: that is nearly always so, and
// sorting thousands takes long. It leaves out what cannot be applied, and says
// why.
func newWanted(items []load.Item, before *wanted) (*wanted, []*Error) {
	if before != nil && before.fits(items) {
		next := *before
		next.items = items
		return &next, nil
	}
	w := &wanted{items: items, keys: make([]object.Key, len(items)), at: make(map[object.Key]int, len(items)), order: make([]int, 0, len(items))}
	var errs []*Error
	for i, item := range items {
		key, err := KeyOf(item.Object)
		if err != nil {
			errs = append(errs, &Error{Source: item.Source, Reason: err.Error()})
			continue
		}
		w.keys[i] = key
		if first, twice := w.at[key]; twice {
			source := items[first].Source
			errs = append(errs, &Error{Source: item.Source, Key: key, Reason: fmt.Sprintf("declared twice, also in %s:%d", source.File, source.Line)})
			continue
		}
		w.at[key] = i
		w.order = append(w.order, i)
	}
	sort.SliceStable(w.order, func(i, j int) bool { return keyLess(w.keys[w.order[i]], w.keys[w.order[j]]) })
	w.sorted = make([]object.Key, len(w.order))
	for i, at := range w.order {
		w.sorted[i] = w.keys[at]
	}
	return w, errs
}

// fits reports whether the items have the keys of w, one by one.
func (w *wanted) fits(items []load.Item) bool {
	if len(items) != len(w.items) || len(w.order) != len(items) {
		return false
	}
	for i, item := range items {
		if item.Object == w.items[i].Object {
			continue
		}
		if key, err := KeyOf(item.Object); err != nil || key != w.keys[i] {
			return false
		}
	}
	return true
}

func (w *wanted) has(key object.Key) bool {
	_, ok := w.at[key]
	return ok
}

// rank is the place of a kind; one that is not served comes anywhere.
func rank(gk schema.GroupKind) kind.Order {
	if k, ok := scheme.ForKind(gk); ok {
		return k.Order
	}
	return kind.Anywhere
}

// restarts reports whether an update of a kind replaces running pods: by a rollout,
// or because what owns them is made anew.
func restarts(a Action) bool {
	k, ok := scheme.ForKind(a.Key.GroupKind)
	if !ok {
		return false
	}
	if a.Recreate {
		return k.Health.Pods != nil
	}
	return k.Rolls && kind.Edit{Paths: a.FieldPaths()}.Template()
}
