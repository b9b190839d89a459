package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A Deployment becomes running pods, rolls to a new template without fewer
// available pods than it may have, keeps its history, and rolls back.
func TestRollout(t *testing.T) {
	c := start(t, 3)
	c.pull = 2 * time.Millisecond
	d := newDeployment("web", 4)
	d.Spec.Strategy = appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: new(intstr.FromInt32(1)), MaxUnavailable: new(intstr.FromInt32(0))},
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
	c.commit(change.Create(d, time.Now()), change.Create(svc, time.Now()))
	c.eventually("first rollout", func() bool { return c.rolledOut("web") && c.ready("web") == 4 })

	first := c.deployment("web")
	if got := first.Annotations["deployment.kubernetes.io/revision"]; got != "1" {
		t.Errorf("revision = %q, want 1", got)
	}
	rs := c.newest(first)
	if want := fmt.Sprintf("ScalingReplicaSet: Scaled up replica set %s from 0 to 4", rs.Name); !slices.Contains(c.waitEvents("Deployment", "web"), want) {
		t.Errorf("events of the deployment = %q, want %q", c.events("Deployment", "web"), want)
	}
	progressing := condition(first, appsv1.DeploymentProgressing)
	if want := fmt.Sprintf("ReplicaSet %q has successfully progressed.", rs.Name); progressing.Reason != "NewReplicaSetAvailable" || progressing.Message != want {
		t.Errorf("Progressing = %s %q, want NewReplicaSetAvailable %q", progressing.Reason, progressing.Message, want)
	}
	for _, p := range c.pods() {
		if len(p.ManagedFields) != 0 || len(p.Name) != len(rs.Name)+6 {
			t.Errorf("pod %s: managedFields %v, want none and a name of %s-xxxxx", p.Name, p.ManagedFields, rs.Name)
		}
	}

	// Every state that a watcher sees has enough ready endpoints.
	watcher, err := c.store.Watch(0, control.EndpointSlice)
	if err != nil {
		t.Fatal(err)
	}
	c.patch(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "example/web:2" })
	c.eventually("second rollout", func() bool { return c.rolledOut("web") && c.ready("web") == 4 && len(c.pods()) == 4 })
	events, err := watcher.Next(c.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if s := ev.Object.(*discoveryv1.EndpointSlice); s.Labels[discoveryv1.LabelServiceName] == "web" && readyIn(s) < 3 {
			// Of the four, one may be gone between its deletion and the ready
			// state of its successor being counted; never more.
			t.Errorf("revision %d: %d ready endpoints, want at least 3", ev.Revision, readyIn(s))
		}
	}
	second := c.deployment("web")
	if got := second.Annotations["deployment.kubernetes.io/revision"]; got != "2" {
		t.Errorf("revision after the update = %q, want 2", got)
	}

	// kubectl rollout undo puts the old template back.
	c.patch(func(d *appsv1.Deployment) { d.Spec.Template = *first.Spec.Template.DeepCopy() })
	c.eventually("rollback", func() bool { return c.rolledOut("web") })
	third := c.deployment("web")
	if got := c.newest(third); got.UID != rs.UID || got.Annotations["deployment.kubernetes.io/revision"] != "3" || got.Annotations["deployment.kubernetes.io/revision-history"] != "1" {
		t.Errorf("after the rollback the newest set is %s with annotations %v, want %s with revision 3 and history 1", got.Name, got.Annotations, rs.Name)
	}
}

func (c *cluster) waitEvents(kind, name string) []string {
	c.t.Helper()
	c.eventually("events of "+name, func() bool { return len(c.events(kind, name)) > 0 })
	return c.events(kind, name)
}

func condition(d *appsv1.Deployment, typ appsv1.DeploymentConditionType) appsv1.DeploymentCondition {
	for _, c := range d.Status.Conditions {
		if c.Type == typ {
			return c
		}
	}
	return appsv1.DeploymentCondition{}
}

func (c *cluster) newest(d *appsv1.Deployment) *appsv1.ReplicaSet {
	objs, _ := c.store.List(control.ReplicaSet, d.Namespace)
	for _, o := range objs {
		rs := o.(*appsv1.ReplicaSet)
		if metav1.IsControlledBy(rs, d) && rs.Annotations["deployment.kubernetes.io/revision"] == d.Annotations["deployment.kubernetes.io/revision"] {
			return rs
		}
	}
	c.t.Fatalf("no replica set of %s has its revision", d.Name)
	return nil
}

// ready counts the ready endpoints of a Service, in its slices; they must
// agree with the Endpoints object once things are quiet.
func (c *cluster) ready(service string) int {
	objs, _ := c.store.List(control.EndpointSlice, "default")
	n := 0
	for _, o := range objs {
		if s := o.(*discoveryv1.EndpointSlice); s.Labels[discoveryv1.LabelServiceName] == service {
			n += readyIn(s)
		}
	}
	ep := control.Get[corev1.Endpoints](c.store, object.Key{GroupKind: control.Endpoints, Namespace: "default", Name: service})
	if ep == nil || len(ep.Subsets) != 1 || len(ep.Subsets[0].Addresses) != n || ep.Subsets[0].Ports[0].Port != 8080 {
		return -1
	}
	return n
}

func readyIn(s *discoveryv1.EndpointSlice) int {
	n := 0
	for _, e := range s.Endpoints {
		if *e.Conditions.Ready {
			n++
		}
	}
	return n
}
