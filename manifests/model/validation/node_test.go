package validation_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func runtimeClassCases(t *testing.T) {
	t.Helper()
	type class = *nodev1.RuntimeClass
	base := `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: sand.boxed}, handler: kata, overhead: {podFixed: {cpu: 250m, memory: 120Mi}}, scheduling: {nodeSelector: {a: b}, tolerations: [{key: a, operator: Exists}]}}`
	amounts := func(name corev1.ResourceName, q string) corev1.ResourceList {
		return corev1.ResourceList{name: resource.MustParse(q)}
	}
	create(t, base, cases[class]{
		"bare":       {func(c class) { c.Overhead, c.Scheduling = nil, nil }, nil},
		"no handler": {func(c class) { c.Handler = "" }, []string{"handler: Required value"}},
		"handler":    {func(c class) { c.Handler = "kata.qemu" }, []string{`handler: Invalid value: "kata.qemu": must not contain dots`}},
		"name":       {func(c class) { c.Name = "a_b" }, []string{`metadata.name: Invalid value: "a_b": ` + subdomain}},
		"overhead":   {func(c class) { c.Overhead.PodFixed = amounts("cpu", "-1") }, []string{`overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		"selector":   {func(c class) { c.Scheduling.NodeSelector = map[string]string{"a b": "c"} }, []string{`scheduling.nodeSelector: Invalid value: "a b": ` + "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"}},
		"tolerations": {func(c class) {
			c.Scheduling.Tolerations = append(c.Scheduling.Tolerations,
				corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute"}, corev1.Toleration{Key: "a", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: new(int64(5))})
		}, []string{`scheduling.tolerations[2]: Duplicate value: {"Key":"a","Operator":"Exists","Value":"","Effect":"NoExecute","TolerationSeconds":5}`}},
		"toleration": {func(c class) { c.Scheduling.Tolerations[0].Operator = "Like" }, []string{`scheduling.tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists"`}},
	})
	update(t, base, cases[class]{
		"overhead":   {func(c class) { c.Overhead.PodFixed = amounts("cpu", "1") }, nil},
		"scheduling": {func(c class) { c.Scheduling = nil }, nil},
		"handler":    {func(c class) { c.Handler = "runc" }, []string{`handler: Invalid value: "runc": field is immutable`}},
	})
}
