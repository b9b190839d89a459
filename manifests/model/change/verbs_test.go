package change_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func deployment(edit func(d *appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	if edit != nil {
		edit(d)
	}
	return d
}

// stored is d as the store has it after its creation.
func stored(t *testing.T, obj object.Object) object.Object {
	t.Helper()
	next, err := change.Create(obj, now).Mutate(nil)
	if err != nil {
		t.Fatal(err)
	}
	next.SetResourceVersion("7")
	return next
}

func key(kind, namespace, name string) object.Key {
	k := object.Key{Namespace: namespace, Name: name}
	k.Kind = kind
	if kind == "Deployment" {
		k.Group = "apps"
	}
	return k
}

func TestCreate(t *testing.T) {
	c := change.Create(deployment(func(d *appsv1.Deployment) { d.ResourceVersion = "3" }), now)
	if got, want := c.Key, key("Deployment", "shop", "web"); got != want {
		t.Errorf("key = %v, want %v", got, want)
	}
	next, err := c.Mutate(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := next.(*appsv1.Deployment)
	if d.UID == "" || d.Generation != 1 || d.ResourceVersion != "" || *d.Spec.Replicas != 1 || !d.CreationTimestamp.Time.Equal(now) {
		t.Errorf("created = %+v, want the server's fields and the defaults", d)
	}
}

func TestCreateGeneratedName(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Namespace: "shop"}}
	if c := change.Create(pod, now); len(c.Key.Name) != len("web-")+5 || c.Key.Name != pod.Name {
		t.Errorf("key %v, pod %q, want one generated name", c.Key, pod.Name)
	}
}

func TestErrors(t *testing.T) {
	current := stored(t, deployment(nil))
	terminating := stored(t, deployment(func(d *appsv1.Deployment) { d.Finalizers = []string{"a/b"} }))
	terminating.SetDeletionTimestamp(&metav1.Time{Time: now})
	edit := func(object.Object) bool { return true }
	for name, tc := range map[string]struct {
		change  change.Change
		current object.Object
		reason  metav1.StatusReason
		message string
	}{
		"create twice": {
			change.Create(deployment(nil), now), current,
			metav1.StatusReasonAlreadyExists, `deployments.apps "web" already exists`,
		},
		"create while it is being deleted": {
			change.Create(deployment(nil), now), terminating,
			metav1.StatusReasonAlreadyExists, `object is being deleted: deployments.apps "web" already exists`,
		},
		"update what is not there": {
			change.Update(deployment(nil)), nil,
			metav1.StatusReasonNotFound, `deployments.apps "web" not found`,
		},
		"update an old version": {
			change.Update(deployment(func(d *appsv1.Deployment) { d.ResourceVersion = "6" })), current,
			metav1.StatusReasonConflict,
			`Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again`,
		},
		"update one created again": {
			change.Update(deployment(func(d *appsv1.Deployment) { d.UID = "other" })), current,
			metav1.StatusReasonConflict,
			`Operation cannot be fulfilled on deployments.apps "web": Precondition failed: UID in precondition: other, UID in object meta: ` + string(current.GetUID()),
		},
		"patch what is not there": {
			change.Patch(key("Pod", "shop", "p"), edit), nil,
			metav1.StatusReasonNotFound, `pods "p" not found`,
		},
		"patch status of what is not there": {
			change.PatchStatus(key("Pod", "shop", "p"), edit), nil,
			metav1.StatusReasonNotFound, `pods "p" not found`,
		},
		"finalize what is not there": {
			change.PatchFinalize("n", func(*corev1.Namespace) bool { return true }), nil,
			metav1.StatusReasonNotFound, `namespaces "n" not found`,
		},
		"delete what is not there": {
			change.Delete(key("Service", "shop", "s"), metav1.DeleteOptions{}, now), nil,
			metav1.StatusReasonNotFound, `services "s" not found`,
		},
	} {
		_, err := tc.change.Mutate(tc.current)
		if apierrors.ReasonForError(err) != tc.reason || err.Error() != tc.message {
			t.Errorf("%s: %v, want %s: %s", name, err, tc.reason, tc.message)
		}
	}
}

func TestUpdate(t *testing.T) {
	current := stored(t, deployment(nil))
	next, err := change.Update(deployment(func(d *appsv1.Deployment) {
		d.ResourceVersion = "7"
		d.Spec.Paused = true
		d.Status.Replicas = 5
	})).Mutate(current)
	if err != nil {
		t.Fatal(err)
	}
	d := next.(*appsv1.Deployment)
	if d.Generation != 2 || !d.Spec.Paused || d.Status.Replicas != 0 || d.UID != current.GetUID() {
		t.Errorf("updated = %+v, want the spec changed, generation 2, and the rest as it was", d)
	}

	next, err = change.PatchStatus(key("Deployment", "shop", "web"), func(o object.Object) bool {
		d := o.(*appsv1.Deployment)
		d.Spec.Paused, d.Status.Replicas = true, 5
		return true
	}).Mutate(current)
	if err != nil {
		t.Fatal(err)
	}
	d = next.(*appsv1.Deployment)
	if d.Generation != 1 || d.Spec.Paused || d.Status.Replicas != 5 {
		t.Errorf("after a patch of the status = %+v, want the status changed only", d)
	}
}

// A write that changes nothing gives back the stored object itself.
func TestNothingChanges(t *testing.T) {
	at := func(sec int64) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: "kubectl", Time: &metav1.Time{Time: time.Unix(sec, 0)}}}
	}
	current := stored(t, deployment(func(d *appsv1.Deployment) { d.ManagedFields = at(1) }))
	k := key("Deployment", "shop", "web")
	for name, c := range map[string]change.Change{
		"the same manifest": change.Update(deployment(func(d *appsv1.Deployment) { d.ManagedFields = at(2) })),
		"with type and empty maps": change.Update(deployment(func(d *appsv1.Deployment) {
			d.TypeMeta = metav1.TypeMeta{Kind: "Deployment", APIVersion: "apps/v1"}
			d.Labels = map[string]string{}
			d.ManagedFields = at(2)
		})),
		"an edit that says no":       change.Patch(k, func(object.Object) bool { return false }),
		"an edit that does nothing":  change.Patch(k, func(object.Object) bool { return true }),
		"an edit of the status only": change.Patch(k, func(o object.Object) bool { o.(*appsv1.Deployment).Status.Replicas = 9; return true }),
		"a status that is the same":  change.PatchStatus(k, func(o object.Object) bool { o.(*appsv1.Deployment).Status.Replicas = 0; return true }),
	} {
		next, err := c.Mutate(current)
		if err != nil || next != current {
			t.Errorf("%s: %v, %v, want the stored object itself", name, next, err)
		}
	}
	next, err := change.Update(deployment(func(d *appsv1.Deployment) {
		d.ManagedFields = at(2)
		d.ManagedFields[0].Manager = "other"
	})).Mutate(current)
	if err != nil || next == current {
		t.Errorf("another manager: %v, want a change", err)
	}
}

func TestPatchLeavesCurrentAlone(t *testing.T) {
	current := stored(t, deployment(nil)).(*appsv1.Deployment)
	next, err := change.Patch(key("Deployment", "shop", "web"), func(o object.Object) bool {
		*o.(*appsv1.Deployment).Spec.Replicas = 4
		return true
	}).Mutate(current)
	if err != nil {
		t.Fatal(err)
	}
	if got := *next.(*appsv1.Deployment).Spec.Replicas; got != 4 || *current.Spec.Replicas != 1 {
		t.Errorf("replicas = %d, stored %d, want 4 and 1", got, *current.Spec.Replicas)
	}
	next, err = change.PatchStatus(key("Deployment", "shop", "web"), func(o object.Object) bool {
		o.(*appsv1.Deployment).Status.Replicas = 4
		return true
	}).Mutate(current)
	if err != nil {
		t.Fatal(err)
	}
	if d := next.(*appsv1.Deployment); d.Status.Replicas != 4 || d.Generation != 1 || current.Status.Replicas != 0 {
		t.Errorf("after PatchStatus = %+v", d)
	}
}

// The write that takes the last finalizer takes the object.
func TestLastFinalizer(t *testing.T) {
	current := stored(t, deployment(func(d *appsv1.Deployment) { d.Finalizers = []string{"a/b"} }))
	c := change.Delete(key("Deployment", "shop", "web"), metav1.DeleteOptions{}, now)
	terminating, err := c.Mutate(current)
	if err != nil || terminating == nil || terminating.GetDeletionTimestamp() == nil {
		t.Fatalf("delete with a finalizer = %v, %v, want it terminating", terminating, err)
	}
	free := func(o object.Object) bool { o.SetFinalizers(nil); return true }
	if next, err := change.Patch(key("Deployment", "shop", "web"), free).Mutate(terminating); err != nil || next != nil {
		t.Errorf("without its finalizer = %v, %v, want it gone", next, err)
	}
	if next, err := change.Patch(key("Deployment", "shop", "web"), free).Mutate(current); err != nil || next == nil {
		t.Errorf("an object nobody deleted = %v, %v, want it kept", next, err)
	}
}

func TestFinalizeNamespace(t *testing.T) {
	ns := stored(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	terminating, err := change.Delete(key("Namespace", "", "n"), metav1.DeleteOptions{}, now).Mutate(ns)
	if err != nil || terminating == nil {
		t.Fatalf("delete = %v, %v, want it terminating", terminating, err)
	}
	next, err := change.PatchFinalize("n", func(ns *corev1.Namespace) bool { ns.Spec.Finalizers = nil; return true }).Mutate(terminating)
	if err != nil || next != nil {
		t.Errorf("finalized = %v, %v, want it gone", next, err)
	}
}

func TestDeletePod(t *testing.T) {
	pod := stored(t, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop"}, Spec: corev1.PodSpec{NodeName: "n"}})
	next, err := change.Delete(key("Pod", "shop", "p"), metav1.DeleteOptions{}, now).Mutate(pod)
	if err != nil || next == nil || *next.GetDeletionGracePeriodSeconds() != 30 {
		t.Fatalf("delete = %v, %v, want 30 s of grace", next, err)
	}
	zero := int64(0)
	if next, err := change.Delete(key("Pod", "shop", "p"), metav1.DeleteOptions{GracePeriodSeconds: &zero}, now).Mutate(next); err != nil || next != nil {
		t.Errorf("delete with grace 0 = %v, %v, want it gone", next, err)
	}
}

// A kind that is not served is refused when the transaction runs.
func TestUnknownKind(t *testing.T) {
	for name, c := range map[string]change.Change{
		"create": change.Create(&unknown{}, now), "update": change.Update(&unknown{}),
	} {
		if _, err := c.Mutate(nil); err == nil {
			t.Errorf("%s of an unknown kind succeeds", name)
		}
	}
}

type unknown struct{ corev1.ConfigMap }
