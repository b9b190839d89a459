package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
)

// TestQuotaOfScopes: a quota with a scopeSelector counts, and refuses, the pods that it is
// about and no others, of each scope and operator; those that go give back what they used.
func TestQuotaOfScopes(t *testing.T) {
	s := apitest.Start(t)
	config := rest.CopyConfig(s.Config)
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	for i, name := range []string{"gold", "silver", "tin"} {
		if _, err := client.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: int32(i)}, metav1.CreateOptions{}); err != nil { //nolint:gosec // a small number
			t.Fatal(err)
		}
	}
	const (
		container = "containers: [{name: c, image: i}]"
		sized     = "containers: [{name: c, image: i, resources: {requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2, memory: 2Gi}}}]"
		elsewhere = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: region, labelSelector: {}%s}]}}, " + container
		nearby    = "affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: region, labelSelector: {}%s}}]}}, " + container
		refused   = `pods %q is forbidden: exceeded quota: scoped, requested: pods=1, used: pods=1, limited: pods=1`
	)
	of := func(class string) string { return "priorityClassName: " + class + ", " + container }
	term := func(format, more string) string { return fmt.Sprintf(format, more) }
	type step struct{ pod, used string } // what is used afterwards, or why it is refused
	one := "pods: 1"
	for name, test := range map[string]struct {
		scope, hard string
		steps       []step
	}{
		"in":             {"PriorityClass In [gold]", one, []step{{of("silver"), "pods=0"}, {container, "pods=0"}, {of("gold"), "pods=1"}, {of("gold"), refused}, {of("tin"), "pods=1"}}},
		"in-several":     {"PriorityClass In [gold, silver]", "pods: 2", []step{{of("gold"), "pods=1"}, {of("silver"), "pods=2"}, {of("tin"), "pods=2"}}},
		"not-in":         {"PriorityClass NotIn [gold]", one, []step{{of("gold"), "pods=0"}, {of("tin"), "pods=1"}, {of("silver"), refused}, {container, refused}, {of("gold"), "pods=1"}}},
		"exists":         {"PriorityClass Exists", one, []step{{container, "pods=0"}, {of("gold"), "pods=1"}, {of("silver"), refused}, {container, "pods=1"}}},
		"does-not-exist": {"PriorityClass DoesNotExist", one, []step{{of("gold"), "pods=0"}, {container, "pods=1"}, {container, refused}, {of("gold"), "pods=1"}}},
		"amounts": {
			"PriorityClass In [gold]", "pods: 1, requests.cpu: 1, requests.memory: 1Gi, limits.cpu: 3, limits.memory: 3Gi",
			[]step{
				{"priorityClassName: silver, " + sized, "limits.cpu=0 limits.memory=0 pods=0 requests.cpu=0 requests.memory=0"},
				{"priorityClassName: gold, " + sized, "limits.cpu=2 limits.memory=2Gi pods=1 requests.cpu=1 requests.memory=1Gi"},
				{of("gold"), `pods %q is forbidden: failed quota: scoped: must specify limits.cpu for: c; limits.memory for: c; requests.cpu for: c; requests.memory for: c`},
			},
		},
		"across": {"CrossNamespacePodAffinity Exists", "pods: 5", []step{
			{container, "pods=0"},
			{term(elsewhere, ""), "pods=0"},
			{term(nearby, ""), "pods=0"},
			{term(elsewhere, ", namespaces: [other]"), "pods=1"},
			{term(elsewhere, ", namespaceSelector: {matchLabels: {team: ads}}"), "pods=2"},
			{term(elsewhere, ", namespaceSelector: {}"), "pods=3"},
			{term(nearby, ", namespaces: [other]"), "pods=4"},
			{term(nearby, ", namespaceSelector: {}"), "pods=5"},
			{term(nearby, ", namespaces: [other]"), `pods %q is forbidden: exceeded quota: scoped, requested: pods=1, used: pods=5, limited: pods=5`},
			{term(nearby, ""), "pods=5"},
		}},
		"across-none":     {"CrossNamespacePodAffinity Exists", "pods: 0", []step{{term(nearby, ""), "pods=0"}, {term(nearby, ", namespaces: [other]"), `pods %q is forbidden: exceeded quota: scoped, requested: pods=1, used: pods=0, limited: pods=0`}}},
		"best-effort":     {"BestEffort Exists", one, []step{{sized, "pods=0"}, {container, "pods=1"}, {container, refused}}},
		"not-best-effort": {"NotBestEffort Exists", one, []step{{container, "pods=0"}, {sized, "pods=1"}, {sized, refused}}},
		"terminating":     {"Terminating Exists", one, []step{{container, "pods=0"}, {"activeDeadlineSeconds: 9, " + container, "pods=1"}, {"activeDeadlineSeconds: 9, " + container, refused}}},
		"not-terminating": {"NotTerminating Exists", one, []step{{"activeDeadlineSeconds: 9, " + container, "pods=0"}, {container, "pods=1"}, {container, refused}}},
	} {
		t.Run(name, func(t *testing.T) {
			core := client.CoreV1()
			if _, err := core.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			words := strings.SplitN(test.scope, " ", 3)
			expression := "scopeName: " + words[0] + ", operator: " + words[1]
			if len(words) == 3 {
				expression += ", values: " + words[2]
			}
			var quota corev1.ResourceQuota
			read(t, "metadata: {name: scoped}\nspec: {hard: {"+test.hard+"}, scopeSelector: {matchExpressions: [{"+expression+"}]}}", &quota)
			if _, err := core.ResourceQuotas(name).Create(t.Context(), &quota, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			used := func() string {
				t.Helper()
				stored, err := core.ResourceQuotas(name).Get(t.Context(), "scoped", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				return amountsOf(stored.Status.Used)
			}
			none := used()
			for i, step := range test.steps {
				var pod corev1.Pod
				read(t, fmt.Sprintf("metadata: {name: pod-%d}\nspec: {%s}", i, step.pod), &pod)
				switch _, err := core.Pods(name).Create(t.Context(), &pod, metav1.CreateOptions{}); {
				case strings.Contains(step.used, "%q"):
					if want := fmt.Sprintf(step.used, pod.Name); !apierrors.IsForbidden(err) || err.Error() != want {
						t.Errorf("%s: error %v, want %s", step.pod, err, want)
					}
				case err != nil:
					t.Errorf("%s: %v", step.pod, err)
				case used() != step.used:
					t.Errorf("after %s are used %s, want %s", step.pod, used(), step.used)
				}
			}
			if err := core.Pods(name).DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{}); err != nil {
				t.Fatal(err)
			}
			if left := used(); left != none {
				t.Errorf("without pods are used %s, want %s", left, none)
			}
		})
	}
}

func read(t *testing.T, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), into); err != nil {
		t.Fatal(err)
	}
}

// amountsOf is a list as text, in its order by name.
func amountsOf(list corev1.ResourceList) string {
	var all []string
	for name, amount := range list {
		all = append(all, fmt.Sprintf("%s=%s", name, amount.String()))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
