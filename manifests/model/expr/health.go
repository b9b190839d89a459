package expr

import (
	"fmt"

	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/health"
)

// Health judges objects by the expressions of a spec.healthCheckExprs entry:
// the first of inProgress, failed and current that holds decides, and if none
// does the object is in progress, as in Flux.
type Health struct{ inProgress, failed, current *Condition }

// objectVariables are what an expression about an object may name.
var objectVariables = []string{"apiVersion", "kind", "metadata", "spec", "status", "data", "type"}

// CompileHealth compiles the expressions of one entry.
func CompileHealth(check kustomize.HealthCheckExpressions) (*Health, error) {
	h := &Health{}
	for _, e := range []struct {
		name, source string
		into         **Condition
		required     bool
	}{{"current", check.Current, &h.current, true}, {"inProgress", check.InProgress, &h.inProgress, false}, {"failed", check.Failed, &h.failed, false}} {
		if e.source == "" {
			if e.required {
				return nil, fmt.Errorf("expression %s is required", e.name)
			}
			continue
		}
		c, err := Compile(e.source, objectVariables...)
		if err != nil {
			return nil, fmt.Errorf("expression %s: %w", e.name, err)
		}
		*e.into = c
	}
	return h, nil
}

// Of judges an object in its JSON form.
func (h *Health) Of(object map[string]any) health.Result {
	if at, _, _ := unstructured.NestedString(object, "metadata", "deletionTimestamp"); at != "" {
		return health.Result{Status: health.Terminating, Message: "Resource scheduled for deletion"}
	}
	generation, _, _ := unstructured.NestedInt64(object, "metadata", "generation")
	observed, has, _ := unstructured.NestedInt64(object, "status", "observedGeneration")
	if has && observed != generation {
		return health.Result{Status: health.InProgress, Message: fmt.Sprintf("generation is %d, but latest observed generation is %d", generation, observed)}
	}
	values := map[string]any{}
	for _, name := range objectVariables {
		// What is absent is empty, so that an expression can test for it.
		if v, ok := object[name]; ok {
			values[name] = v
		} else {
			values[name] = map[string]any{}
		}
	}
	for _, c := range []struct {
		condition *Condition
		status    health.Status
	}{{h.inProgress, health.InProgress}, {h.failed, health.Failed}, {h.current, health.Current}} {
		if c.condition == nil {
			continue
		}
		holds, err := c.condition.Holds(values)
		if err != nil {
			return health.Result{Status: health.InProgress, Message: "custom health check: " + err.Error()}
		}
		if holds {
			return health.Result{Status: c.status, Message: fmt.Sprintf("custom health check: %s", c.status)}
		}
	}
	return health.Result{Status: health.InProgress, Message: "custom health check: no expression holds"}
}
