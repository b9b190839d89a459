package validation_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func budgetCases(t *testing.T) {
	t.Helper()
	type budget = *policyv1.PodDisruptionBudget
	base := `{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web, namespace: shop}, spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}}`
	least := func(v intstr.IntOrString) func(budget) { return func(b budget) { b.Spec.MinAvailable = &v } }
	most := func(v intstr.IntOrString) func(budget) {
		return func(b budget) { b.Spec.MinAvailable, b.Spec.MaxUnavailable = nil, &v }
	}
	const percent = `: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`
	create(t, base, cases[budget]{
		"neither":     {func(b budget) { b.Spec.MinAvailable = nil }, nil},
		"any name":    {func(b budget) { b.Name = "Web_1" }, nil},
		"a path":      {func(b budget) { b.Name = "a/b" }, []string{`metadata.name: Invalid value: "a/b": may not contain '/'`}},
		"no selector": {func(b budget) { b.Spec.Selector = nil }, nil},
		"all pods":    {func(b budget) { b.Spec.Selector = &metav1.LabelSelector{} }, nil},
		"both": {func(b budget) { b.Spec.MaxUnavailable = new(intstr.FromInt32(1)) }, []string{
			`spec: Invalid value: {"MinAvailable":1,"Selector":{"matchLabels":{"app":"web"}},"MaxUnavailable":1,"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set`,
		}},
		"negative least":     {least(intstr.FromInt32(-1)), []string{"spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"}},
		"least 100%":         {least(intstr.FromString("100%")), nil},
		"least over 100%":    {least(intstr.FromString("101%")), []string{`spec.minAvailable: Invalid value: "101%": must not be greater than 100%`}},
		"least not a number": {least(intstr.FromString("half")), []string{`spec.minAvailable: Invalid value: "half"` + percent}},
		"negative most":      {most(intstr.FromInt32(-2)), []string{"spec.maxUnavailable: Invalid value: -2: must be greater than or equal to 0"}},
		"most 0":             {most(intstr.FromInt32(0)), nil},
		"most over 100%":     {most(intstr.FromString("200%")), []string{`spec.maxUnavailable: Invalid value: "200%": must not be greater than 100%`}},
		"most not a number":  {most(intstr.FromString("1.5%")), []string{`spec.maxUnavailable: Invalid value: "1.5%"` + percent}},
		"operator": {func(b budget) {
			b.Spec.Selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
		}, []string{`spec.selector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`}},
		"value": {func(b budget) { b.Spec.Selector.MatchLabels["app"] = "a b" }, []string{
			`spec.selector.matchLabels: Invalid value: "a b": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`,
		}},
		"always allow": {func(b budget) { b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow) }, nil},
		"policy": {func(b budget) {
			b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.UnhealthyPodEvictionPolicyType("Never"))
		}, []string{`spec.unhealthyPodEvictionPolicy: Unsupported value: "Never": supported values: "AlwaysAllow", "IfHealthyBudget"`}},
	})
	update(t, base, cases[budget]{
		"selector": {func(b budget) { b.Spec.Selector.MatchLabels["app"] = "x" }, nil},
		"least":    {least(intstr.FromInt32(-1)), []string{"spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"}},
	})
	odd := strings.Replace(base, "matchLabels: {app: web}", `matchExpressions: [{key: app, operator: In, values: ["a b"]}]`, 1)
	update(t, odd, cases[budget]{
		"a value that is there": {least(intstr.FromInt32(2)), nil},
	})
	updateStatus(t, base, cases[budget]{
		"fine": {func(b budget) { b.Status.DisruptionsAllowed, b.Status.ExpectedPods = 1, 2 }, nil},
		"counts": {func(b budget) {
			b.Status = policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: -1, CurrentHealthy: -2, DesiredHealthy: -3, ExpectedPods: -4}
		}, []string{
			"status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
			"status.currentHealthy: Invalid value: -2: must be greater than or equal to 0",
			"status.desiredHealthy: Invalid value: -3: must be greater than or equal to 0",
			"status.expectedPods: Invalid value: -4: must be greater than or equal to 0",
		}},
		"condition": {func(b budget) {
			b.Status.Conditions = []metav1.Condition{{Type: "DisruptionAllowed", Status: "True", LastTransitionTime: metav1.Unix(1, 0)}}
		}, []string{"status.conditions[0].reason: Required value"}},
	})
}

func replicationControllerCases(t *testing.T) {
	t.Helper()
	type controller = *corev1.ReplicationController
	base := `
apiVersion: v1
kind: ReplicationController
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
`
	create(t, base, cases[controller]{
		"replicas":        {func(rc controller) { rc.Spec.Replicas = new(int32(-1)) }, []string{"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
		"no replicas":     {func(rc controller) { rc.Spec.Replicas = nil }, []string{"spec.replicas: Required value"}},
		"min ready":       {func(rc controller) { rc.Spec.MinReadySeconds = -1 }, []string{"spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"}},
		"no selector":     {func(rc controller) { rc.Spec.Selector = nil }, []string{"spec.selector: Required value"}},
		"no template":     {func(rc controller) { rc.Spec.Template = nil }, []string{"spec.template: Required value"}},
		"other labels":    {func(rc controller) { rc.Spec.Template.Labels["app"] = "x" }, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"}},
		"restart policy":  {func(rc controller) { rc.Spec.Template.Spec.RestartPolicy = "Never" }, []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		"active deadline": {func(rc controller) { rc.Spec.Template.Spec.ActiveDeadlineSeconds = new(int64(1)) }, []string{"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"}},
	})
	update(t, base, cases[controller]{
		"selector": {func(rc controller) {
			rc.Spec.Selector, rc.Spec.Template.Labels = map[string]string{"a": "b"}, map[string]string{"a": "b"}
		}, nil},
		"image": {func(rc controller) { rc.Spec.Template.Spec.Containers[0].Image = "" }, []string{"spec.template.spec.containers[0].image: Required value"}},
	})
	updateStatus(t, base, cases[controller]{
		"fine": {func(rc controller) {
			rc.Status.Replicas, rc.Status.ReadyReplicas, rc.Status.AvailableReplicas = 2, 2, 1
		}, nil},
		"too many": {func(rc controller) {
			rc.Status = corev1.ReplicationControllerStatus{Replicas: 1, FullyLabeledReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 3, ObservedGeneration: -1}
		}, []string{
			"status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
			"status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
			"status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
			"status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
			"status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
		}},
	})
}
