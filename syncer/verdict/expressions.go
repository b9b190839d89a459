package verdict

import (
	"fmt"
	"maps"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/expr"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/fault"
)

// Expressions are a Kustomization's compiled CEL expressions. Compiling costs
// milliseconds, so that it is done once for each text; they belong to the
// Kustomization's loop.
type Expressions struct {
	ready  map[string]*expr.Condition
	health map[kustomize.HealthCheckExpressions]*expr.Health
}

// maxExpressions bounds the entries of spec.healthCheckExprs, and those of
// spec.dependsOn that have a readyExpr: each is compiled.
const maxExpressions = 100

// Checked is a kind of objects that a healthCheckExprs entry judges.
type Checked struct {
	schema.GroupVersion
	Kind string
}

// DependOn fails if a Kustomization has too many expressions for its
// dependencies, and forgets those that it no longer has.
func (e *Expressions) DependOn(ks *kustomizev1.Kustomization) error {
	n, texts := 0, map[string]bool{}
	for _, d := range ks.Spec.DependsOn {
		if d.ReadyExpr != "" {
			n++
			texts[d.ReadyExpr] = true
		}
	}
	if n > maxExpressions {
		return fmt.Errorf("spec.dependsOn: has %d entries with a readyExpr, more than %d", n, maxExpressions)
	}
	maps.DeleteFunc(e.ready, func(text string, _ *expr.Condition) bool { return !texts[text] })
	return nil
}

// ReadyExpr reports whether a dependency is ready as self sees it.
func (e *Expressions) ReadyExpr(source string, self, dep *kustomizev1.Kustomization) (bool, error) {
	c := e.ready[source]
	if c == nil {
		var err error
		if c, err = expr.Compile(source, "self", "dep"); err != nil {
			return false, err
		}
		if e.ready == nil {
			e.ready = map[string]*expr.Condition{}
		}
		e.ready[source] = c
	}
	values := map[string]any{}
	for name, ks := range map[string]*kustomizev1.Kustomization{"self": self, "dep": dep} {
		m, err := asMap(ks)
		if err != nil {
			return false, err
		}
		values[name] = m
	}
	return c.Holds(values)
}

// HealthOf compiles spec.healthCheckExprs; the first entry of a kind counts.
func (e *Expressions) HealthOf(ks *kustomizev1.Kustomization) (map[Checked]*expr.Health, error) {
	if len(ks.Spec.HealthCheckExprs) == 0 {
		return nil, nil
	}
	if n := len(ks.Spec.HealthCheckExprs); n > maxExpressions {
		return nil, fmt.Errorf("spec.healthCheckExprs: has %d entries, more than %d", n, maxExpressions)
	}
	kept := map[kustomize.HealthCheckExpressions]*expr.Health{}
	out := map[Checked]*expr.Health{}
	for i, entry := range ks.Spec.HealthCheckExprs {
		gv, err := schema.ParseGroupVersion(entry.APIVersion)
		if err != nil {
			return nil, fmt.Errorf("spec.healthCheckExprs[%d].apiVersion: %w", i, err)
		}
		h := e.health[entry.HealthCheckExpressions]
		if h == nil {
			if h, err = expr.CompileHealth(entry.HealthCheckExpressions); err != nil {
				return nil, fmt.Errorf("failed to create custom status evaluator for healthchecks[%d]: %w", i, err)
			}
		}
		kept[entry.HealthCheckExpressions] = h
		if kind := (Checked{gv, entry.Kind}); out[kind] == nil {
			out[kind] = h
		}
	}
	e.health = kept
	return out, nil
}

// Assess returns the health of an object: by the expressions of the
// Kustomization that waits for it, if it has any for the kind.
func Assess(exprs map[Checked]*expr.Health, st *assess.Standing, key object.Key) (res health.Result, wait time.Duration) {
	obj := st.Reader.Get(key)
	if obj == nil {
		return health.Result{Status: health.NotFound, Message: "not found"}, 0
	}
	if len(exprs) > 0 {
		if version, ok := versionOf(key, obj); ok {
			if h := exprs[Checked{version, key.Kind}]; h != nil {
				m, err := asMap(obj)
				if err != nil {
					return health.Result{Status: health.InProgress, Message: err.Error()}, 0
				}
				return h.Of(m), 0
			}
		}
	}
	return st.Of(obj)
}

// versionOf is the version in which an object is stored.
func versionOf(key object.Key, obj object.Object) (schema.GroupVersion, bool) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return u.GroupVersionKind().GroupVersion(), true
	}
	kind, ok := scheme.ForKind(key.GroupKind)
	if !ok {
		return schema.GroupVersion{}, false
	}
	return kind.GroupVersion(), true
}

// asMap is an object's JSON form with its kind, which stored objects lack.
func asMap(obj object.Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("encode the object: %w", err)
	}
	if key, err := scheme.KeyOf(obj); err == nil {
		if kind, ok := scheme.ForKind(key.GroupKind); ok {
			m["apiVersion"], m["kind"] = kind.GroupVersion().String(), kind.Kind
		}
	}
	return m, nil
}

// BadExpression is the failure of an expression, which only a change of the
// Kustomization can repair.
func BadExpression(err error) error { return fault.New(meta.InvalidCELExpressionReason, err) }
