package plan

import (
	"context"
	"fmt"
	"maps"
	"sort"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
)

// The labels with which an object names its Kustomization.
const (
	OwnerNameLabel      = "kustomize.toolkit.fluxcd.io/name"
	OwnerNamespaceLabel = "kustomize.toolkit.fluxcd.io/namespace"
)

var namespaceKind = schema.GroupKind{Kind: "Namespace"}

// Type is the type of an action.
type Type string

// The types of actions.
const (
	Create    Type = "Create"
	Update    Type = "Update"
	Delete    Type = "Delete"
	Unchanged Type = "Unchanged"
	Skip      Type = "Skip"
)

// Owner names a Kustomization.
type Owner struct{ Namespace, Name string }

func (o Owner) String() string { return o.Namespace + "/" + o.Name }

// Input is what a plan depends on, besides the stored objects.
type Input struct {
	Items []load.Item
	// Inventory is what the owner applied last.
	Inventory []object.Key
	Owner     Owner
	// Claimed returns another Kustomization that has the key in its inventory.
	Claimed func(object.Key) (Owner, bool)
	// Taken returns the Kustomization that a stored object belongs to, if that is
	// another one which has taken it over by a newer commit than the one that is
	// planned; nil if none is newer.
	Taken func(object.Key, object.Object) (Owner, bool)
	// Lost reports whether an object that is not there had been taken over by
	// another Kustomization since that commit; nil if none is newer.
	Lost func(object.Key) bool
	// Successor returns another Kustomization that declares the key in the commit
	// that is planned; nil if that is not known of any.
	Successor func(object.Key) (Successor, bool)
	// Declares reports whether another Kustomization still declares a key in the
	// commit that is planned, or may; nil if that is not known of any.
	Declares func(Owner, object.Key) bool
	// Resident returns an object of some kind or namespace that another Kustomization
	// declares, and which; nil if that is not known of any.
	Resident func(where func(object.Key) bool) (Owner, object.Key, bool)
	// Released reports that the owner is being deleted: objects that it must
	// not delete, it leaves behind.
	Released bool
	// Prune deletes objects of the inventory that are no longer declared; Force
	// deletes and creates objects that cannot be updated.
	Prune, Force bool
	// Definitions are those of custom resources that others bring before.
	Definitions []*apiextensionsv1.CustomResourceDefinition
	// Ignore names fields of live objects that are left as they are.
	Ignore []kustomizev1.IgnoreRule
	// Admit returns what admission makes of next when it takes the place of live,
	// or is created if that is nil; nil if it changes nothing. known is false if it is not asked any more.
	Admit func(next, live object.Object) (made object.Object, known bool)
	// Unseen reports whether a plan must reveal nothing about the stored object
	// of a key, not even that it exists; nil if it may reveal everything. The
	// plan then depends only on Before: the declaration that was applied last.
	Unseen func(object.Key) bool
	Before map[object.Key]object.Object

	// scaled are the objects that a HorizontalPodAutoscaler scales, with its name.
	scaled map[object.Key]string
}

// Successor is a Kustomization, other than the owner that a plan is for, that
// declares an object. Unsure reports that it could not be rendered but seems
// to.
type Successor struct {
	Owner  Owner
	Unsure bool
}

// Error is a fault of one object.
type Error struct {
	Source load.Source
	Key    object.Key
	Field  string
	Reason string
}

func (e *Error) Error() string {
	msg := e.Reason
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	if e.Key.Name != "" {
		name := e.Key.Name
		if e.Key.Namespace != "" {
			name = e.Key.Namespace + "/" + name
		}
		msg = e.Key.Kind + " " + name + ": " + msg
	}
	switch {
	case e.Source.File == "":
		return msg
	case e.Source.Line == 0:
		return e.Source.File + ": " + msg
	}
	return fmt.Sprintf("%s:%d: %s", e.Source.File, e.Source.Line, msg)
}

// Result is a plan: the creations and updates in the order of their kinds
// (namespaces first), then the deletions in reverse.
type Result struct {
	Actions []Action
	// Inventory is what the owner has applied once the plan is carried out.
	Inventory []object.Key
	// Kept are the objects of it that are no longer declared and wait to be
	// taken over, or for others to be gone.
	Kept []object.Key
	// Errors are all faults; nothing may be written if there is one.
	Errors []*Error
	// Kinds are those that there are once the plan is carried out.
	Kinds *scheme.Set
	// Compared counts the objects that were applied onto the stored ones; the
	// others were known to be unchanged.
	Compared int
}

// Changes reports whether the plan changes anything that a user can see.
func (r Result) Changes() bool {
	for _, a := range r.Actions {
		if a.Type != Unchanged && a.Type != Skip {
			return true
		}
	}
	return false
}

// Planner makes plans for one Kustomization, and remembers what it found.
type Planner struct {
	// planning is held by who makes a plan, and mu by who reads or changes what is
	// below: not while a webhook is asked.
	planning sync.Mutex
	mu       sync.Mutex

	applier *applier
	wanted  *wanted // of the plan before
	memo    map[object.Key]memo
	ignore  []kustomizev1.IgnoreRule // that the memos were made with
	scaled  map[object.Key]string    // as well
	// registry knows the kinds of the cluster, kinds those of the plan that is made.
	registry *scheme.Registry
	kinds    definitions
	// converter converts custom resources; nil: nobody does.
	converter custom.Converter
	// compared counts for the result of the plan that is being made.
	compared int
}

// memo says that want applied to live changes nothing; want is nil where live
// is to be left alone for now.
type memo struct {
	want, live object.Object
	// admitted: they differ by what admission makes of want, which is asked about
	// each time. It may think otherwise by now.
	admitted bool
	// kind is the one by which it was found, of a custom resource.
	kind *kind.Kind
	// note is the action's Reason: what was left as it is.
	note string
}

// New returns a Planner that remembers nothing yet, for a cluster with these kinds;
// nil knows Headway's own.
func New(kinds *scheme.Registry) *Planner {
	return &Planner{applier: newApplier(), memo: map[object.Key]memo{}, registry: kinds}
}

// NewConverting is New, for a cluster in which by converts custom resources.
func NewConverting(kinds *scheme.Registry, by custom.Converter) *Planner {
	p := New(kinds)
	p.by(by)
	return p
}

// by makes a converter the one of p.
func (p *Planner) by(converter custom.Converter) {
	if p.converter = converter; converter != nil {
		p.applier.by = released{converter, &p.mu}
	}
}

// released gives a lock back while a webhook is asked.
type released struct {
	custom.Converter
	mu *sync.Mutex
}

// Convert implements custom.Converter.
func (r released) Convert(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	r.mu.Unlock()
	defer r.mu.Lock()
	return r.Converter.Convert(ctx, crd, u, version)
}

// Fork returns a Planner that knows what p knows, and from which p learns
// nothing: for plans that are only shown. It may be called at any time.
func (p *Planner) Fork() *Planner {
	p.mu.Lock()
	defer p.mu.Unlock()
	fork := &Planner{applier: newApplier(), wanted: p.wanted, memo: maps.Clone(p.memo), ignore: p.ignore, scaled: p.scaled, registry: p.registry}
	fork.by(p.converter)
	return fork
}

// Drifted reports whether the live state of a key differs from the one that the
// last plan was made for, in more than its status.
func (p *Planner) Drifted(key object.Key, live object.Object) bool {
	p.mu.Lock()
	m, ok := p.memo[key]
	p.mu.Unlock()
	return !ok || !m.stands(live)
}

// Wants reports whether the last plan declared the key, or there was none yet.
func (p *Planner) Wants(key object.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted == nil || p.wanted.has(key)
}

// Learn records what an action has stored.
func (p *Planner) Learn(a Action, stored object.Object) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.Type == Delete || stored == nil {
		delete(p.memo, a.Key)
		return
	}
	m := memo{want: a.want, live: stored, admitted: a.Object != nil && len(diff.Objects(a.Object, stored)) > 0}
	if a.Kind != nil && a.Kind.Custom != nil {
		m.kind = a.Kind
	}
	p.memo[a.Key] = m
}

// Plan makes a plan. It never changes the items' objects or the stored ones. Once ctx
// ends, nobody converts custom resources any more, and the plan is none.
func (p *Planner) Plan(ctx context.Context, in Input, stored object.Reader) Result {
	p.planning.Lock()
	defer p.planning.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applier.ctx = ctx
	defer func() { p.applier.ctx = context.Background() }()
	var res Result
	p.compared = 0
	p.kinds = definitions{set: p.registry.Set().With(in.Definitions...)}
	if !equality.Semantic.DeepEqual(p.ignore, in.Ignore) {
		clear(p.memo)
		p.ignore = in.Ignore
	}
	var want *wanted
	want, res.Errors = newWanted(in.Items, p.wanted)
	p.seeAutoscalers(&in, want, stored)
	res.Actions = make([]Action, 0, len(want.order))
	res.Inventory = make([]object.Key, 0, len(want.order))
	for i, key := range want.sorted {
		item := want.items[want.order[i]]
		_, custom := item.Object.(*unstructured.Unstructured)
		if custom {
			p.kinds.complement(res.Actions)
		}
		a, errs := p.one(in, key, item, custom, want, stored)
		if len(errs) > 0 {
			p.kinds.refused(item)
			res.Errors = append(res.Errors, errs...)
			continue
		}
		res.Actions = append(res.Actions, a)
		if !a.Excluded || a.Live != nil && ownedBy(a.Live, in.Owner) {
			res.Inventory = append(res.Inventory, key)
		}
	}
	deletes, leaving, kept, errs := prune(in, want, stored)
	res.Errors = append(res.Errors, errs...)
	res.Errors = append(res.Errors, doomed(res.Actions, deletes)...)
	kept = append(kept, holdBack(deletes, leaving)...)
	res.Actions = append(res.Actions, deletes...)
	res.Inventory, res.Kept = append(res.Inventory, kept...), kept
	for key := range p.memo {
		if !want.has(key) {
			delete(p.memo, key)
		}
	}
	p.wanted = want
	res.Compared, res.Kinds = p.compared, p.kinds.set
	return res
}

// KeyOf returns the key of an item: namespaced kinds without a namespace go to
// "default", as with kubectl.
func KeyOf(obj object.Object) (object.Key, error) {
	key, err := scheme.KeyOf(obj)
	if err != nil {
		return key, err
	}
	if k, ok := scheme.ForKind(key.GroupKind); ok {
		if !k.Namespaced {
			key.Namespace = ""
		} else if key.Namespace == "" {
			key.Namespace = metav1.NamespaceDefault
		}
	}
	return key, nil
}

// one decides about one wanted object.
func (p *Planner) one(in Input, key object.Key, item load.Item, custom bool, wanted *wanted, stored object.Reader) (Action, []*Error) {
	live := stored.Get(key)
	a := Action{Type: Unchanged, Key: key, Live: live, Source: item.Source, want: item.Object}
	if reason := item.LeftOut(); reason != "" {
		a.Type, a.Reason, a.Live = Skip, reason, nil
		delete(p.memo, key)
		return a, nil
	}
	if in.Unseen != nil && in.Unseen(key) {
		return p.unseen(in, key, item, wanted, stored)
	}
	var defined *kind.Kind
	if custom {
		var errs []*Error
		if defined, errs = p.kinds.defined(key, item, live, stored); len(errs) > 0 {
			delete(p.memo, key)
			return Action{}, errs
		}
	}
	m, before := p.memo[key]
	before = before && live != nil && m.want == item.Object && m.kind == defined && m.stands(live)
	if before && !m.admitted {
		if m.live != live {
			m.live = live
			p.memo[key] = m
		}
		a.Reason = m.note
		return a, nil
	}
	delete(p.memo, key)
	fail := func(reason string) (Action, []*Error) {
		return Action{}, []*Error{{Source: item.Source, Key: key, Reason: reason}}
	}
	if reason := excluded(item.Object, live); reason != "" {
		a.Type, a.Reason, a.Excluded = Skip, reason, true
		p.memo[key] = memo{live: live}
		return a, nil
	}
	if reason := takenOver(in, key, live); reason != "" {
		a.Type, a.Reason, a.Excluded = Skip, reason, true
		p.memo[key] = memo{live: live}
		return a, nil
	}
	if live != nil {
		if reason := heldBy(in, key, live); reason != "" {
			return fail(reason)
		}
		if live.GetDeletionTimestamp() != nil {
			a.Type, a.Reason = Skip, "is being deleted; it is created again once it is gone"
			p.memo[key] = memo{live: live}
			return a, nil
		}
	} else if key.Namespace != "" {
		if reason := namespaceFault(key.Namespace, wanted, stored); reason != "" {
			return fail(reason)
		}
	}
	p.compared++
	next, errs := p.applier.apply(in, defined, key, item, live)
	if len(errs) > 0 {
		return Action{}, errs
	}
	fields, admitted, known := p.changes(in, live, next)
	if before && !known {
		// Admission is not asked any more: what it said the last time still stands.
		p.memo[key] = memo{want: item.Object, live: live, admitted: true, kind: defined, note: m.note}
		a.Reason = m.note
		return a, nil
	}
	a.Object, a.Kind, a.Recreate, a.Part, a.Reason = next.object, next.kind, next.recreate, next.part, next.reason
	if live == nil {
		a.Type = Create
	} else if a.Fields = fields; len(fields) > 0 || next.recreate && !admitted {
		a.Type = Update
		a.Restart = restarts(a)
	} else if next.recreate {
		// Admission would make it again what it is: it was made anew for nothing, each time.
		a.Object, a.Recreate, a.Reason = nil, false, ""
		p.memo[key] = memo{want: item.Object, live: live, admitted: true, kind: defined}
	} else if sameOwnership(live, next.object) {
		a.Object = nil
		p.memo[key] = memo{want: item.Object, live: live, admitted: admitted, kind: defined, note: a.Reason}
	}
	return a, nil
}

// takenOver says who has taken over an object since the commit that is planned.
// Going back to that commit must not take it away again: there may be a newer
// declaration of it, and both would put back theirs for ever. Nor must it come back
// where whoever took it over has deleted it.
func takenOver(in Input, key object.Key, live object.Object) string {
	if live == nil {
		if in.Lost != nil && in.Lost(key) {
			return "another Kustomization had taken it over since, and it is gone"
		}
		return ""
	}
	if in.Taken == nil {
		return ""
	}
	if other, ok := in.Taken(key, live); ok {
		return fmt.Sprintf("the Kustomization %s has taken it over since", other)
	}
	return ""
}

// heldBy is why an object is another Kustomization's: that has applied it and
// still declares it, or takes it over as well and has the name that comes
// first. Empty if it can be had.
func heldBy(in Input, key object.Key, live object.Object) string {
	owner, ok := OwnerOf(live)
	if !ok || owner == in.Owner || in.Claimed == nil {
		return ""
	}
	other, claimed := in.Claimed(key)
	switch {
	case !claimed || other == in.Owner:
		return ""
	case in.Declares == nil || in.Declares(other, key):
		return ManagedBy(other.String())
	}
	if successor, ok := successorOf(in, key); ok && !successor.Unsure && successor.Owner.String() < in.Owner.String() {
		return fmt.Sprintf("is taken over by the Kustomization %s: remove it from there first", successor.Owner)
	}
	return ""
}

// ManagedBy returns why an object cannot be taken from the Kustomization that
// has it.
func ManagedBy(kustomization string) string {
	return fmt.Sprintf("is managed by the Kustomization %s: remove it from there first", kustomization)
}

// namespaceFault is why nothing can be created in a namespace, in the API
// server's words, or empty.
func namespaceFault(name string, wanted *wanted, stored object.Reader) string {
	key := object.Key{GroupKind: namespaceKind, Name: name}
	ns := stored.Get(key)
	if ns == nil {
		if wanted.has(key) {
			return ""
		}
		return fmt.Sprintf("namespaces %q not found: declare the Namespace in the repository, too", name)
	}
	if ns.GetDeletionTimestamp() != nil {
		return fmt.Sprintf("unable to create new content in namespace %s because it is being terminated", name)
	}
	return ""
}

// OwnerOf returns the Kustomization that an object's labels name.
func OwnerOf(obj object.Object) (Owner, bool) {
	labels := obj.GetLabels()
	o := Owner{Namespace: labels[OwnerNamespaceLabel], Name: labels[OwnerNameLabel]}
	return o, o.Name != ""
}

func ownedBy(obj object.Object, owner Owner) bool {
	is, ok := OwnerOf(obj)
	return ok && is == owner
}

func sortKeys(keys []object.Key) {
	sort.SliceStable(keys, func(i, j int) bool { return keyLess(keys[i], keys[j]) })
}

func keyLess(a, b object.Key) bool {
	if a.GroupKind != b.GroupKind {
		if ra, rb := rank(a.GroupKind), rank(b.GroupKind); ra != rb {
			return ra < rb
		}
		return a.GroupKind.String() < b.GroupKind.String()
	}
	if a.Namespace != b.Namespace {
		return a.Namespace < b.Namespace
	}
	return a.Name < b.Name
}
