package why

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/history"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/owners"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

var (
	podKind    = schema.GroupKind{Kind: "Pod"}
	nodeKind   = schema.GroupKind{Kind: "Node"}
	eventKind  = schema.GroupKind{Kind: "Event"}
	budgetKind = schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}
)

const (
	// mostPods bounds the names of pods in a reason, mostSet the fields, and mostPlaced
	// for how many sorts of pods the scheduler is asked.
	mostPods, mostSet, mostPlaced = 20, 5, 50
	// mostUp is how far up it is looked for what Git declares: a pod, a Job, a CronJob.
	mostUp = 4
)

// Finder answers.
type Finder struct {
	Env     *env.Env
	Rights  rights.Rights
	Owners  *owners.Index
	History *history.History
	Journal *journal.Journal
	// Place returns what asks the scheduler about pods as things stand; nil: nobody
	// knows.
	Place func() func(*corev1.Pod) Placing
	// Schedulers are the values of spec.schedulerName that Headway's scheduler serves;
	// nil: the default one.
	Schedulers []string
}

// Why is why an object is where it is, or does not run yet.
func (f *Finder) Why(ctx context.Context, q wire.ObjectQuery) (wire.Why, error) {
	key, obj, err := f.History.Live(q)
	if key.Kind != "" {
		if denied := f.Rights.Permitted(ctx, "get", key); denied != nil {
			return wire.Why{}, denied
		}
	}
	if err != nil {
		return wire.Why{}, err
	}
	if key.GroupKind != claimKind && !f.runs(key.GroupKind) {
		return wire.Why{}, fmt.Errorf("why tells about %s, and a %s is none of these: see `headway blame %s/%s`", strings.Join(f.kinds(), ", "), key.Kind, strings.ToLower(key.Kind), key.Name)
	}
	a := &asked{Finder: f, ctx: ctx, placings: map[string]Placing{}}
	a.look(key.Namespace)
	out := wire.Why{Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name}
	var reasons []found
	switch o := obj.(type) {
	case *corev1.Pod:
		out.State, out.Message = stateOf(o)
		out.Node = o.Spec.NodeName
		reasons = ofPod(o, a.facts(o))
	case *corev1.PersistentVolumeClaim:
		reasons = a.claim(&out, o)
	default:
		reasons = a.workload(&out, obj)
	}
	if err := ctx.Err(); err != nil {
		return wire.Why{}, err
	}
	a.commits(&out, key, obj, reasons)
	for _, r := range reasons {
		out.Reasons = append(out.Reasons, r.WhyReason)
	}
	return out, nil
}

// runs reports whether a kind is pods or runs some.
func (f *Finder) runs(gk schema.GroupKind) bool {
	return slices.ContainsFunc(f.running(), func(k *kind.Kind) bool { return k.GroupKind() == gk })
}

// running are the kinds that are pods or run some.
func (f *Finder) running() (list []*kind.Kind) {
	for _, k := range f.Env.Kinds.Kinds() {
		if k.Custom == nil && k.Health.Pods != nil {
			list = append(list, k)
		}
	}
	return list
}

// kinds are the names of all that can be asked about.
func (f *Finder) kinds() (names []string) {
	for _, k := range f.running() {
		names = append(names, k.Plural)
	}
	names = append(names, "persistentvolumeclaims")
	slices.Sort(names)
	return names
}

// asked is one question, with what its caller may know.
type asked struct {
	*Finder
	ctx context.Context //nolint:containedctx // as long as the question

	pods, events, nodes bool // may be listed
	told                map[types.UID][]*corev1.Event
	ask                 func(*corev1.Pod) Placing
	placings            map[string]Placing
}

func (a *asked) may(verb string, key object.Key) bool {
	return a.Rights.Permitted(a.ctx, verb, key) == nil
}

// look finds out what the caller may read in a namespace.
func (a *asked) look(namespace string) {
	a.pods = a.may("list", object.Key{GroupKind: podKind, Namespace: namespace})
	a.nodes = a.may("list", object.Key{GroupKind: nodeKind})
	a.events = a.may("list", object.Key{GroupKind: eventKind, Namespace: namespace})
	a.told = map[types.UID][]*corev1.Event{}
	if a.events {
		list, _ := a.Env.Store.List(eventKind, namespace)
		for _, o := range list {
			if e, ok := o.(*corev1.Event); ok {
				a.told[e.InvolvedObject.UID] = append(a.told[e.InvolvedObject.UID], e)
			}
		}
	}
	for _, list := range a.told {
		slices.SortStableFunc(list, func(x, y *corev1.Event) int { return lastTime(x).Compare(lastTime(y)) })
	}
}

func (a *asked) facts(p *corev1.Pod) facts {
	f := facts{events: a.told[p.UID], schedulers: a.Schedulers}
	if a.nodes && a.Place != nil {
		f.place = func() Placing { return a.placing(p) }
		f.node, _ = a.Env.Store.Get(object.Key{GroupKind: nodeKind, Name: p.Spec.NodeName}).(*corev1.Node)
	}
	if f.node != nil && f.node.Spec.Unschedulable {
		f.budgets = a.budgets(p)
	}
	return f
}

// placing asks the scheduler, once about pods of the same controller and node.
func (a *asked) placing(p *corev1.Pod) Placing {
	sort := string(p.UID)
	if ref := metav1.GetControllerOfNoCopy(p); ref != nil {
		sort = string(ref.UID) + "/" + p.Spec.NodeName
	}
	if known, ok := a.placings[sort]; ok || len(a.placings) >= mostPlaced {
		return known
	}
	if a.ask == nil {
		a.ask = a.Place()
	}
	a.placings[sort] = a.ask(p)
	return a.placings[sort]
}

// budgets are the names of those that do not let a pod be evicted now.
func (a *asked) budgets(p *corev1.Pod) (names []string) {
	list, _ := a.Env.Store.List(budgetKind, p.Namespace)
	for _, o := range list {
		b, ok := o.(*policyv1.PodDisruptionBudget)
		if !ok || b.Status.DisruptionsAllowed > 0 || !a.may("get", object.KeyOf(budgetKind, b)) {
			continue
		}
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && s.Matches(labels.Set(p.Labels)) {
			names = append(names, b.Name)
		}
	}
	return names
}

// workload is what there is to say of what runs pods.
func (a *asked) workload(out *wire.Why, obj object.Object) []found {
	res := assess.Of(obj, nil) // the counts: what is wrong with its pods are the reasons
	out.State, out.Message = stateOfWorkload(res, obj), res.Message
	reasons := ofWorkload(obj, a.told[obj.GetUID()])
	var pods []*corev1.Pod
	for _, child := range a.below(obj, 0) {
		if p, ok := child.(*corev1.Pod); ok {
			pods = append(pods, p)
			continue
		}
		for _, r := range ofWorkload(child, a.told[child.GetUID()]) {
			if r.Reason != scaledToZero && !slices.ContainsFunc(reasons, func(o found) bool { return o.Message == r.Message }) {
				r.Object = childName(child)
				reasons = append(reasons, r)
			}
		}
	}
	if !a.pods {
		return reasons
	}
	return append(reasons, together(pods, func(p *corev1.Pod) []found { return ofPod(p, a.facts(p)) })...)
}

// below are the pods of an object and what is between, as far as the caller may see it.
func (a *asked) below(obj object.Object, depth int) (list []object.Object) {
	if depth == mostUp {
		return nil
	}
	for _, k := range a.running() {
		if !a.may("list", object.Key{GroupKind: k.GroupKind(), Namespace: obj.GetNamespace()}) {
			continue
		}
		objs, _ := a.Env.Store.List(k.GroupKind(), obj.GetNamespace())
		for _, o := range objs {
			if metav1.IsControlledBy(o, obj) {
				list = append(list, o)
				if k.GroupKind() != podKind {
					list = append(list, a.below(o, depth+1)...)
				}
			}
		}
	}
	return list
}
