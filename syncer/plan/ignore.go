package plan

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// keepIgnored makes the patch leave alone what spec.ignore names: the live
// value stays, whatever it is, also none. A new object gets what Git says.
func keepIgnored(rules []kustomizev1.IgnoreRule, gvk schema.GroupVersionKind, patch map[string]any, live object.Object) error {
	var have map[string]any
	for i, rule := range rules {
		applies, err := selects(rule.Target, gvk, live)
		if err != nil {
			return fmt.Errorf("spec.ignore[%d].target: %w", i, err)
		}
		if !applies {
			continue
		}
		if have == nil {
			if have, err = toMap(live); err != nil {
				return err
			}
		}
		for j, pointer := range rule.Paths {
			steps, err := parsePointer(pointer)
			if err != nil {
				return fmt.Errorf("spec.ignore[%d].paths[%d]: %w", i, j, err)
			}
			value, there := at(have, steps)
			put(patch, steps, value, there)
		}
	}
	return nil
}

// KeepIgnored returns next as JSON has it, but with what spec.ignore names as it is in live.
func KeepIgnored(rules []kustomizev1.IgnoreRule, gvk schema.GroupVersionKind, next, live object.Object) (map[string]any, error) {
	doc, err := toMap(next)
	if err != nil {
		return nil, err
	}
	doc = runtime.DeepCopyJSON(doc) // that of a custom resource is its own
	return doc, keepIgnored(rules, gvk, doc, live)
}

// selects reports whether a rule is for the object: all objects without a target.
func selects(target *kustomize.Selector, gvk schema.GroupVersionKind, obj object.Object) (bool, error) {
	if target == nil {
		return true, nil
	}
	for _, m := range []struct{ pattern, value string }{
		{target.Group, gvk.Group},
		{target.Version, gvk.Version},
		{target.Kind, gvk.Kind},
		{target.Name, obj.GetName()},
		{target.Namespace, obj.GetNamespace()},
	} {
		if m.pattern == "" {
			continue
		}
		expr, err := regexp.Compile("^(?:" + m.pattern + ")$")
		if err != nil {
			return false, err
		}
		if !expr.MatchString(m.value) {
			return false, nil
		}
	}
	for _, m := range []struct {
		selector string
		set      map[string]string
	}{{target.LabelSelector, obj.GetLabels()}, {target.AnnotationSelector, obj.GetAnnotations()}} {
		selector, err := labels.Parse(m.selector)
		if err != nil {
			return false, err
		}
		if !selector.Matches(labels.Set(m.set)) {
			return false, nil
		}
	}
	return true, nil
}

// parsePointer reads a JSON pointer (RFC 6901).
func parsePointer(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok || rest == "" {
		return nil, fmt.Errorf("%q is not a JSON pointer to a field, such as /spec/replicas", pointer)
	}
	steps := strings.Split(rest, "/")
	for i, s := range steps {
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return steps, nil
}

// at is the value at a pointer.
func at(v any, steps []string) (any, bool) {
	for _, step := range steps {
		switch parent := v.(type) {
		case map[string]any:
			child, ok := parent[step]
			if !ok {
				return nil, false
			}
			v = child
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(parent) {
				return nil, false
			}
			v = parent[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// put sets the value at a pointer, or removes what is there. It makes the maps
// on the way, and leaves alone what has no such place.
func put(v any, steps []string, value any, there bool) {
	last := len(steps) - 1
	for i, step := range steps {
		switch parent := v.(type) {
		case map[string]any:
			switch child, ok := parent[step]; {
			case i == last && there:
				parent[step] = value
			case i == last:
				delete(parent, step)
			case ok:
				v = child
			case there:
				next := map[string]any{}
				parent[step], v = next, next
			default:
				return
			}
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n < 0 || n >= len(parent) {
				return
			}
			if i == last {
				if there {
					parent[n] = value
				}
				return
			}
			v = parent[n]
		default:
			return
		}
	}
}

// suspended reports whether something that follows Git is suspended.
func suspended(obj object.Object) bool {
	k, ok := scheme.ForObject(obj)
	return ok && k.Suspension != nil && *k.Suspension(obj).Suspend
}

// keepSuspended makes the patch leave spec.suspend alone where the object is
// suspended: whoever suspends one that is itself in Git must not be undone by
// what applies it. It is resumed in the way in which it was suspended.
func keepSuspended(patch map[string]any, live object.Object) {
	if !suspended(live) {
		return
	}
	if spec, ok := patch["spec"].(map[string]any); ok && spec["suspend"] != true {
		delete(spec, "suspend")
	}
}

// exemptOf are the fields of a stored object that stay whoever set them.
func exemptOf(live object.Object) *fieldpath.Set {
	set := exempt()
	if suspended(live) {
		set.Insert(fieldpath.MakePathOrDie("spec", "suspend"))
	}
	return set
}

var autoscalerKind = schema.GroupKind{Group: autoscalingv2.GroupName, Kind: "HorizontalPodAutoscaler"}

// autoscaled are the objects that a HorizontalPodAutoscaler scales, of those that will
// be there once the plan is carried out, with its name.
func autoscaled(in Input, want *wanted, stored object.Reader) map[object.Key]string {
	var scaled map[object.Key]string
	add := func(obj object.Object, namespace string) {
		a, ok := obj.(*autoscalingv2.HorizontalPodAutoscaler)
		if !ok {
			return
		}
		ref := a.Spec.ScaleTargetRef
		gv, err := schema.ParseGroupVersion(ref.APIVersion)
		if err != nil {
			return
		}
		if scaled == nil {
			scaled = map[object.Key]string{}
		}
		scaled[object.Key{GroupKind: schema.GroupKind{Group: gv.Group, Kind: ref.Kind}, Namespace: namespace, Name: ref.Name}] = a.Name
	}
	leaves := map[object.Key]bool{}
	for _, key := range in.Inventory {
		if key.GroupKind == autoscalerKind {
			leaves[key] = in.Prune
		}
	}
	all, _ := stored.List(autoscalerKind, "")
	for _, obj := range all {
		key := object.KeyOf(autoscalerKind, obj)
		if !want.has(key) && !leaves[key] && obj.GetDeletionTimestamp() == nil && (in.Unseen == nil || !in.Unseen(key)) {
			add(obj, obj.GetNamespace())
		}
	}
	for i, key := range want.keys {
		if key.GroupKind == autoscalerKind {
			add(want.items[i].Object, key.Namespace)
		}
	}
	return scaled
}

// seeAutoscalers has a plan know what is scaled, and forgets what was decided about
// objects of which something else scales now.
func (p *Planner) seeAutoscalers(in *Input, want *wanted, stored object.Reader) {
	in.scaled = autoscaled(*in, want, stored)
	for key := range p.memo {
		if p.scaled[key] != in.scaled[key] {
			delete(p.memo, key)
		}
	}
	p.scaled = in.scaled
}

// leaveReplicas makes the patch leave the number of replicas to the autoscaler of that
// name, if there is one: what the manifest says counts for a new object only. It says
// so, unless both are the same.
func leaveReplicas(autoscaler string, patch map[string]any, live object.Object, path string) (note string, err error) {
	steps := strings.Split(path, ".")
	wants, set := at(patch, steps)
	if autoscaler == "" || !set {
		return "", nil
	}
	have, err := toMap(live)
	if err != nil {
		return "", err
	}
	value, there := at(have, steps)
	if !there || fmt.Sprint(value) == fmt.Sprint(wants) {
		return "", nil
	}
	put(patch, steps, value, true)
	return fmt.Sprintf("%s is left to HorizontalPodAutoscaler %s", path, autoscaler), nil
}
