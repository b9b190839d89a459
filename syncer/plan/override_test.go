package plan_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/syncer/plan"
)

// by is the entry of a manager that has set fields.
func by(manager, subresource, version, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: version, Subresource: subresource,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

// What people add with kubectl goes at the next apply, unless the annotation
// says otherwise; what other managers, subresources and requests add stays.
func TestOverride(t *testing.T) {
	add := func(c *corev1.ConfigMap) {
		c.Data["edited"], c.Data["operators"] = "x", "y"
		c.Annotations = map[string]string{
			"note": "kubectl's", "reconcile.fluxcd.io/requestedAt": "now",
			corev1.LastAppliedConfigAnnotation: "{}",
		}
		c.ManagedFields = append(c.ManagedFields,
			by("kubectl-edit", "", "v1", `{"f:data":{"f:edited":{}}}`),
			by("kubectl-annotate", "", "v1", `{"f:metadata":{"f:annotations":{".":{},"f:note":{},"f:reconcile.fluxcd.io/requestedAt":{}}}}`),
			by("operator", "", "v1", `{"f:data":{"f:operators":{}}}`))
	}
	s, p, _ := setUp(t, namespace, config)
	edit(t, s, "ConfigMap", "web", add)
	in := input(items(t, namespace, config))
	res := p.Plan(t.Context(), in, s)
	want(t, res, "Unchanged Namespace/web",
		"Update ConfigMap/web data.edited:x><nil> metadata.annotations.note:kubectl's><nil> metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]:{}><nil>")
	carryOut(t, s, res)
	want(t, plan.New(nil).Plan(t.Context(), in, s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")

	merge := strings.Replace(config, "name: web,", "name: web, annotations: {kustomize.toolkit.fluxcd.io/ssa: Merge},", 1)
	s, p, _ = setUp(t, namespace, merge)
	edit(t, s, "ConfigMap", "web", func(c *corev1.ConfigMap) {
		annotations := c.Annotations
		add(c)
		c.Annotations["kustomize.toolkit.fluxcd.io/ssa"] = annotations["kustomize.toolkit.fluxcd.io/ssa"]
	})
	want(t, p.Plan(t.Context(), input(items(t, namespace, merge)), s), "Unchanged Namespace/web", "Unchanged ConfigMap/web")
}

// A number of replicas that Git leaves open is that of whoever scales, and not
// of who edits.
func TestOverrideOfReplicas(t *testing.T) {
	for _, tt := range []struct {
		manager, subresource string
		want                 string
	}{
		{"kubectl", "scale", "Unchanged Deployment/web"},
		{"autoscaler", "", "Unchanged Deployment/web"},
		{"kubectl-edit", "", "Update Deployment/web spec.replicas:4>1"},
	} {
		s, p, _ := setUp(t, namespace, deploy)
		edit(t, s, "Deployment", "web", func(d *appsv1.Deployment) {
			n := int32(4)
			d.Spec.Replicas = &n
			d.ManagedFields = append(d.ManagedFields, by(tt.manager, tt.subresource, "apps/v1", `{"f:spec":{"f:replicas":{}}}`))
		})
		want(t, p.Plan(t.Context(), input(items(t, namespace, deploy)), s), "Unchanged Namespace/web", tt.want)
	}
}

// An object that says so is created again where it cannot be changed.
func TestForceOfOneObject(t *testing.T) {
	forced := strings.Replace(config, "\ndata:", "\nimmutable: true\ndata:", 1)
	forced = strings.Replace(forced, "name: web,", "name: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled},", 1)
	other := strings.ReplaceAll(strings.Replace(config, "\ndata:", "\nimmutable: true\ndata:", 1), "name: web,", "name: other,")
	s, p, _ := setUp(t, namespace, forced, other)
	res := p.Plan(t.Context(), input(items(t, namespace, strings.Replace(forced, "one", "new", 1), other)), s)
	want(t, res, "Unchanged Namespace/web", "Unchanged ConfigMap/other", "Update ConfigMap/web data.a:one>new")
	if a := res.Actions[2]; !a.Recreate {
		t.Errorf("the action is %+v, want it to create the object again", a)
	}
	res = p.Plan(t.Context(), input(items(t, namespace, forced, strings.Replace(other, "one", "new", 1))), s)
	if len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), "kustomize.toolkit.fluxcd.io/force: enabled") {
		t.Errorf("a change of an immutable object without force: %v", res.Errors)
	}
}

// The way out is told of the field that cannot be changed, not of another mistake, and
// not to who has taken it.
func TestForceIsToldWhereItHelps(t *testing.T) {
	const class = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 10\n"
	s, p, _ := setUp(t, class)
	mixed := strings.Replace(class, "value: 10", "value: 2000000000\npreemptionPolicy: Sometimes", 1)
	told := func(manifest string) (all, forces string) {
		for _, e := range p.Plan(t.Context(), input(items(t, manifest)), s).Errors {
			all += e.Error() + "\n"
			if strings.Contains(e.Error(), "force: enabled") {
				forces += e.Error() + "\n"
			}
		}
		return all, forces
	}
	if all, forces := told(mixed); !strings.Contains(all, "Unsupported value") || strings.Contains(forces, "Unsupported value") || !strings.Contains(forces, "immutable") {
		t.Errorf("without force it says:\n%s", all)
	}
	mixed = strings.Replace(mixed, "name: high", "name: high, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}", 1)
	if all, forces := told(mixed); !strings.Contains(all, "Unsupported value") || forces != "" {
		t.Errorf("with force it says:\n%s", all)
	}
}

// What the server makes of a new object, as the selector and the labels of a Job, is no
// change of one that is created again.
func TestForceOfAJob(t *testing.T) {
	const job = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: web, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}
spec:
  template:
    metadata: {labels: {app: migrate}}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "web:1"}]
`
	for _, before := range []string{job, strings.Replace(job, "metadata: {labels: {app: migrate}}", "metadata: {}", 1)} {
		s, p, _ := setUp(t, namespace, before)
		after := strings.Replace(before, "web:1", "web:2", 1)
		res := p.Plan(t.Context(), input(items(t, namespace, after)), s)
		want(t, res, "Unchanged Namespace/web", "Update Job/migrate spec.template.spec.containers[name=main].image:web:1>web:2 restart")
		a := res.Actions[1]
		if job, ok := a.Object.(*batchv1.Job); !a.Recreate || !a.Restart || !ok || job.UID != "" || job.Spec.Selector != nil {
			t.Errorf("the action is %+v, want it to create the Job again, with a UID of its own", a)
		}
	}
}

// A fault names the field, and not the pod template that it holds.
func TestFaultsAreReadable(t *testing.T) {
	const job = `apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: web}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "web:1"}]}}}
`
	s, p, _ := setUp(t, namespace, job)
	var got []string
	for _, changed := range []string{strings.Replace(job, "web:1", "web:2", 1), strings.Replace(job, "{restartPolicy", "{dnsPolicy: x, restartPolicy", 1)} {
		for _, e := range p.Plan(t.Context(), input(items(t, namespace, changed)), s).Errors {
			got = append(got, e.Field+": "+e.Reason)
		}
	}
	const immutable = "spec.template: Invalid value: field is immutable (set spec.force on the Kustomization, or kustomize.toolkit.fluxcd.io/force: enabled on the object, to delete and create it)"
	if len(got) < 2 || got[0] != immutable || !slices.ContainsFunc(got[1:], func(e string) bool { return strings.Contains(e, `Unsupported value: "x"`) }) {
		t.Errorf("errors:\n%s", strings.Join(got, "\n"))
	}
}
