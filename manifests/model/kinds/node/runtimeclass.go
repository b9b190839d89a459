package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// runtimeClass says by which handler a node runs the containers of pods, what they
// cost besides their containers, and which nodes have it. engine/admission/plugins
// puts that into the pods that name a class; the agent looks for the handler.
// https://kubernetes.io/docs/concepts/containers/runtime-class/
var runtimeClass = kind.Define[nodev1.RuntimeClass, nodev1.RuntimeClassList](kind.Definition[*nodev1.RuntimeClass]{
	Names: kind.Names{
		GroupVersionKind: nodev1.SchemeGroupVersion.WithKind("RuntimeClass"),
		Plural:           "runtimeclasses", Singular: "runtimeclass",
	},
	// kustomize does not know it: as PriorityClass, before the pods that name it.
	Order: 175,
	REST:  kind.REST{CreateOnUpdate: true, VersionRequired: true},
	Default: func(c *nodev1.RuntimeClass) {
		if c.Overhead != nil {
			fill.Milli(c.Overhead.PodFixed)
		}
	},
	Honours: honour.Types{
		honour.Of[nodev1.RuntimeClass](): {Honoured: "TypeMeta metadata handler overhead scheduling"},
		honour.Of[nodev1.Overhead]():     {Honoured: "podFixed"},
		honour.Of[nodev1.Scheduling]():   {Honoured: "nodeSelector tolerations"},
	},
	Rules: kind.Rules[*nodev1.RuntimeClass]{
		Name:   apivalidation.NameIsDNSSubdomain,
		Object: validateRuntimeClass,
		Update: func(c, old *nodev1.RuntimeClass) field.ErrorList {
			return rule.Immutable(c.Handler, old.Handler, field.NewPath("handler"))
		},
	},
	Warnings: func(c, _ *nodev1.RuntimeClass) []string {
		if c.Scheduling == nil {
			return nil
		}
		return podspec.OldLabels(c.Scheduling.NodeSelector, field.NewPath("scheduling", "nodeSelector"))
	},
	Table: kind.Table[*nodev1.RuntimeClass]{
		Columns: column.Define("Name", "Handler", "Age"),
		Row: func(c *nodev1.RuntimeClass, now time.Time) []any {
			return []any{c.Name, c.Handler, column.Age(c, now)}
		},
	},
})

func validateRuntimeClass(c *nodev1.RuntimeClass) field.ErrorList {
	var errs field.ErrorList
	if handler := field.NewPath("handler"); c.Handler == "" {
		errs = append(errs, field.Required(handler, ""))
	} else {
		errs = append(errs, rule.DNSLabel(c.Handler, handler)...)
	}
	if c.Overhead != nil {
		errs = append(errs, podspec.Overhead(c.Overhead.PodFixed, field.NewPath("overhead"))...)
	}
	if s := c.Scheduling; s != nil {
		path := field.NewPath("scheduling")
		errs = append(errs, metavalidation.ValidateLabels(s.NodeSelector, path.Child("nodeSelector"))...)
		errs = append(errs, podspec.Tolerations(s.Tolerations, path.Child("tolerations"))...)
		errs = append(errs, tolerationsTwice(s.Tolerations, path.Child("tolerations"))...)
	}
	return errs
}

// tolerationsTwice has each toleration once, for however long it tolerates.
func tolerationsTwice(list []corev1.Toleration, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.Toleration]bool{}
	for i, t := range list {
		seconds := t.TolerationSeconds
		t.TolerationSeconds = nil
		if seen[t] {
			// Kubernetes prints its internal form, whose fields have other names.
			errs = append(errs, field.Duplicate(path.Index(i), struct {
				Key               string
				Operator          corev1.TolerationOperator
				Value             string
				Effect            corev1.TaintEffect
				TolerationSeconds *int64
			}{t.Key, t.Operator, t.Value, t.Effect, seconds}))
		}
		seen[t] = true
	}
	return errs
}
