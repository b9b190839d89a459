package validation_test

import (
	"testing"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func migrationCases(t *testing.T) {
	t.Helper()
	type migration = *storagemigrationv1.StorageVersionMigration
	const base = `{apiVersion: storagemigration.k8s.io/v1, kind: StorageVersionMigration, metadata: {name: m}, spec: {resource: {group: apps, resource: deployments}}}`
	conditions := func(types ...storagemigrationv1.MigrationConditionType) func(migration) {
		return func(m migration) {
			for _, typ := range types {
				m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{
					Type: string(typ), Status: "True", Reason: "X", LastTransitionTime: metav1.Unix(1, 0),
				})
			}
		}
	}
	create(t, base, cases[migration]{
		"of the core": {func(m migration) { m.Spec.Resource.Group = "" }, nil},
		"nothing":     {func(m migration) { m.Spec.Resource.Resource = "" }, []string{"spec.resource.resource: Required value: resource is required to be set"}},
		"group":       {func(m migration) { m.Spec.Resource.Group = "A" }, []string{`spec.resource.group: Invalid value: "A": ` + subdomainMessage}},
		"resource":    {func(m migration) { m.Spec.Resource.Resource = "A" }, []string{`spec.resource.resource: Invalid value: "A": ` + labelMessage}},
	})
	update(t, base, cases[migration]{
		"labels":   {func(m migration) { m.Labels = map[string]string{"a": "b"} }, nil},
		"resource": {func(m migration) { m.Spec.Resource.Resource = "pods" }, []string{`spec: Invalid value: {"resource":{"group":"apps","resource":"pods"}}: field is immutable`}},
	})
	updateStatus(t, base, cases[migration]{
		"running": {conditions(storagemigrationv1.MigrationRunning), nil},
		"both": {conditions(storagemigrationv1.MigrationSucceeded, storagemigrationv1.MigrationFailed), []string{
			`status.conditions: Invalid value: [{"type":"Succeeded","status":"True","lastTransitionTime":"1970-01-01T00:00:01Z","reason":"X","message":""},{"type":"Failed","status":"True","lastTransitionTime":"1970-01-01T00:00:01Z","reason":"X","message":""}]: Both success and failed conditions cannot be true at the same time`,
		}},
	})
}
