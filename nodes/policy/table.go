package policy

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/knftables"
)

// element is one of a set, or of a map.
type element struct{ of, key string }

// set is a set, or a map of verdicts.
type set struct {
	kind  string
	isMap bool
}

// tracked is what the kernel should have and what it is known to have of one sort of
// things; dirty are those in which both may differ.
type tracked[K, V comparable] struct {
	want, have map[K]V
	dirty      map[K]bool
}

func newTracked[K, V comparable]() tracked[K, V] {
	return tracked[K, V]{want: map[K]V{}, have: map[K]V{}, dirty: map[K]bool{}}
}

func (t *tracked[K, V]) set(k K, v V) { t.want[k], t.dirty[k] = v, true }

func (t *tracked[K, V]) remove(k K) {
	delete(t.want, k)
	t.dirty[k] = true
}

// differ calls old for what is to go, and next for what is to come; what changes is both.
func (t *tracked[K, V]) differ(old, next func(K, V)) {
	for k := range t.dirty {
		have, there := t.have[k]
		want, wanted := t.want[k]
		if there && (!wanted || have != want) {
			old(k, have)
		}
		if wanted && (!there || have != want) {
			next(k, want)
		}
	}
}

func (t *tracked[K, V]) written() {
	for k := range t.dirty {
		if want, ok := t.want[k]; ok {
			t.have[k] = want
		} else {
			delete(t.have, k)
		}
	}
	clear(t.dirty)
}

func (t *tracked[K, V]) unknown() {
	clear(t.have)
	clear(t.dirty)
	for k := range t.want {
		t.dirty[k] = true
	}
}

// table is one of nftables: what it should have, and what it is known to have.
type table struct {
	nft  knftables.Interface
	base map[string]knftables.Chain
	// chains are rules, one a line.
	chains   tracked[string, string]
	sets     tracked[string, set]
	elements tracked[element, string]
	// owned are the elements that each owner wants, and refs for how many they are.
	owned map[string]map[element]string
	refs  map[element]int
	// known is set if the kernel is known to have what is tracked.
	known bool
}

func newTable(family knftables.Family, name string, base map[string]knftables.Chain) (*table, error) {
	nft, err := knftables.New(family, name)
	if err != nil {
		return nil, fmt.Errorf("find nft; install the package nftables: %w", err)
	}
	return &table{
		nft: nft, base: base, chains: newTracked[string, string](), sets: newTracked[string, set](), elements: newTracked[element, string](),
		owned: map[string]map[element]string{}, refs: map[element]int{},
	}, nil
}

// own makes the elements of one owner these; nil: none. An element that several want is
// there once, with what the last of them said.
func (t *table) own(owner string, elements map[element]string) {
	for e, value := range elements {
		t.refs[e]++
		if have, ok := t.elements.want[e]; !ok || have != value {
			t.elements.set(e, value)
		}
	}
	for e := range t.owned[owner] {
		if t.refs[e]--; t.refs[e] == 0 {
			delete(t.refs, e)
			t.elements.remove(e)
		}
	}
	if t.owned[owner] = elements; len(elements) == 0 {
		delete(t.owned, owner)
	}
}

// write makes the kernel's table what it should be, in one transaction. After an error
// the next write is of everything.
func (t *table) write(ctx context.Context, lines func(chain string) []string) error {
	tx := t.nft.NewTransaction()
	if !t.known {
		t.forget()
		// The kernel does all of a transaction at once: no packet sees the table gone.
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		tx.Add(&knftables.Table{})
	}
	var goneSets, goneChains, changed []string
	t.sets.differ(func(name string, s set) { goneSets = append(goneSets, name) }, func(name string, s set) {
		if s.isMap {
			tx.Add(&knftables.Map{Name: name, Type: s.kind})
		} else {
			tx.Add(&knftables.Set{Name: name, Type: s.kind})
		}
	})
	t.chains.differ(func(name, _ string) {
		tx.Flush(&knftables.Chain{Name: name})
		if _, stays := t.chains.want[name]; !stays {
			goneChains = append(goneChains, name)
		}
	}, func(name, _ string) {
		chain := t.base[name]
		chain.Name = name
		tx.Add(&chain)
		changed = append(changed, name)
	})
	for _, name := range changed { // when all chains and sets are there
		for _, rule := range lines(name) {
			tx.Add(&knftables.Rule{Chain: name, Rule: rule})
		}
	}
	t.elements.differ(func(e element, value string) {
		if _, there := t.sets.want[e.of]; there { // else it goes with its set
			tx.Delete(t.element(e, value))
		}
	}, func(e element, value string) { tx.Add(t.element(e, value)) })
	for _, name := range goneChains { // after the elements that lead to them
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, name := range goneSets {
		if t.sets.have[name].isMap {
			tx.Delete(&knftables.Map{Name: name})
		} else {
			tx.Delete(&knftables.Set{Name: name})
		}
	}
	if n := tx.NumOperations(); n > 0 {
		if err := t.nft.Run(ctx, tx); err != nil {
			t.known = false
			return fmt.Errorf("change %d objects of nftables: %w", n, err)
		}
	}
	t.known = true
	t.sets.written()
	t.chains.written()
	t.elements.written()
	return nil
}

func (t *table) element(e element, value string) *knftables.Element {
	out := &knftables.Element{Set: e.of, Key: []string{e.key}}
	if value != "" {
		out.Set, out.Map, out.Value = "", e.of, []string{value}
	}
	return out
}

func (t *table) forget() {
	t.known = false
	t.sets.unknown()
	t.chains.unknown()
	t.elements.unknown()
}

// verify looks whether all chains and sets are in the kernel, with as many rules,
// because another program may have flushed them. If not, the next write is of
// everything.
func (t *table) verify(ctx context.Context, lines func(chain string) []string) (missing bool, err error) {
	if !t.known {
		return true, nil
	}
	there, err := t.nft.ListAll(ctx)
	if err != nil && !knftables.IsNotFound(err) {
		return false, fmt.Errorf("list the tables of policies: %w", err)
	}
	rules := map[string]int{}
	if err == nil {
		listed, err := t.nft.ListRules(ctx, "")
		if err != nil && !knftables.IsNotFound(err) {
			return false, fmt.Errorf("list the rules of policies: %w", err)
		}
		for _, rule := range listed {
			rules[rule.Chain]++
		}
	}
	for name := range t.chains.want {
		missing = missing || !slices.Contains(there["chain"], name) || rules[name] != len(lines(name))
	}
	for name, s := range t.sets.want {
		kind := "set"
		if s.isMap {
			kind = "map"
		}
		missing = missing || !slices.Contains(there[kind], name)
	}
	if missing {
		t.known = false
	}
	return missing, nil
}
