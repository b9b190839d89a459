package api_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}},
	}
}

// The main resource does not touch the status, and the status not the rest.
func TestStatusIsSeparate(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	deployments := kubernetes.NewForConfigOrDie(s.Config).AppsV1().Deployments("default")
	one, two := int32(1), int32(2)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}, Spec: newPod("").Spec}
	d, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       appsv1.DeploymentSpec{Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Template: template},
		Status:     appsv1.DeploymentStatus{Replicas: 99},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Status.Replicas != 0 || d.Generation != 1 {
		t.Errorf("created with status %d, generation %d, want 0 and 1", d.Status.Replicas, d.Generation)
	}
	d.Spec.Replicas, d.Status.Replicas = &two, 5
	status, err := deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *status.Spec.Replicas != 1 || status.Status.Replicas != 5 || status.Generation != 1 {
		t.Errorf("status update: replicas %d, status %d, generation %d; want 1, 5, 1", *status.Spec.Replicas, status.Status.Replicas, status.Generation)
	}
	if _, err := deployments.Update(ctx, d, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: got %v, want a conflict", err)
	}
	d = status.DeepCopy()
	d.Spec.Replicas, d.Status.Replicas = &two, 0
	main, err := deployments.Update(ctx, d, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if *main.Spec.Replicas != 2 || main.Status.Replicas != 5 || main.Generation != 2 {
		t.Errorf("update: replicas %d, status %d, generation %d; want 2, 5, 2", *main.Spec.Replicas, main.Status.Replicas, main.Generation)
	}
	scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := autoscalingv1.ScaleStatus{Replicas: 5, Selector: "app=web"}
	if scale.Spec.Replicas != 2 || scale.Status != want {
		t.Errorf("scale: got %+v %+v, want 2 and %+v", scale.Spec, scale.Status, want)
	}
	for _, c := range []struct{ patch, subresource, told string }{
		{`{"metadata":{"uid":"another"},"spec":{"replicas":3}}`, "scale", `deployments/scale.apps "web": Precondition failed: UID in precondition: another, UID in object meta: ` + string(d.UID)},
		{`{"metadata":{"uid":"another"}}`, "", `metadata.uid: Invalid value: "another": field is immutable`},
		{`{"metadata":{"deletionTimestamp":"2020-01-01T00:00:00Z"}}`, "", `metadata.deletionTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is immutable`},
		{`{"metadata":{"deletionGracePeriodSeconds":1}}`, "", "metadata.deletionGracePeriodSeconds: Invalid value: 1: field is immutable"},
	} {
		if _, err := deployments.Patch(ctx, "web", types.MergePatchType, []byte(c.patch), metav1.PatchOptions{}, c.subresource); err == nil || !strings.HasSuffix(err.Error(), c.told) {
			t.Errorf("%s: got %v, want %q", c.patch, err, c.told)
		}
	}
	scale.Labels, scale.Spec.Replicas = map[string]string{"-": ""}, -1
	if _, err := deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "metadata.labels") || !strings.Contains(err.Error(), "spec.replicas") {
		t.Errorf("a scale that is not valid: got %v", err)
	}
	same, err := deployments.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if same.ResourceVersion != main.ResourceVersion {
		t.Errorf("a patch that changes nothing made version %s of %s", same.ResourceVersion, main.ResourceVersion)
	}
}

// Pods end gracefully on a node and at once without one; bindings place them
// once; finalizers and preconditions hold deletions up.
func TestPodLife(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Config)
	pods := client.CoreV1().Pods("default")
	if _, err := pods.Create(ctx, newPod("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bind := func(node string) error {
		return pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{})
	}
	if err := bind("n1"); err != nil {
		t.Fatal(err)
	}
	if err := bind("n2"); !apierrors.IsConflict(err) {
		t.Errorf("second binding: got %v, want a conflict", err)
	}
	pod, err := pods.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pod.Spec.NodeName != "n1" || len(pod.Status.Conditions) != 1 || pod.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("bound: node %q, conditions %v", pod.Spec.NodeName, pod.Status.Conditions)
	}
	wrong := types.UID("wrong")
	if err := pods.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
		t.Errorf("delete with a wrong UID: got %v, want a conflict", err)
	}
	evict := func(options metav1.DeleteOptions) error {
		return pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a"}, DeleteOptions: &options})
	}
	if err := evict(metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
		t.Errorf("eviction with a wrong UID: got %v, want a conflict", err)
	}
	if err := evict(metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	if same, err := pods.Get(ctx, "a", metav1.GetOptions{}); err != nil || same.ResourceVersion != pod.ResourceVersion {
		t.Errorf("evictions that were refused and tried left %v, %v", same, err)
	}
	if err := evict(metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion}}); err != nil {
		t.Fatal(err)
	}
	if pod, err = pods.Get(ctx, "a", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 30 {
		t.Errorf("evicted: deletionTimestamp %v, grace %v; want it to end in 30 s", pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds)
	}
	if c := pod.Status.Conditions[len(pod.Status.Conditions)-1]; len(pod.Status.Conditions) != 2 || c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionTrue ||
		c.Reason != "EvictionByEvictionAPI" || c.Message != "Eviction API: evicting" {
		t.Errorf("evicted: conditions %+v", pod.Status.Conditions)
	}
	if err := pods.Delete(ctx, "a", *metav1.NewDeleteOptions(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after the node let go: got %v, want not found", err)
	}

	// Namespaces have Kubernetes' words of their own.
	told := `namespaces "default": Precondition failed: UID in precondition: wrong, UID in object meta: `
	if err := client.CoreV1().Namespaces().Delete(ctx, "default", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), told) {
		t.Errorf("delete a namespace with a wrong UID: got %v, want %q", err, told)
	}
	held := newPod("b")
	held.Finalizers = []string{"example.com/hold"}
	if _, err := pods.Create(ctx, held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if pod, err = pods.Get(ctx, "b", metav1.GetOptions{}); err != nil || pod.DeletionTimestamp == nil {
		t.Fatalf("held by a finalizer: %v, deletionTimestamp %v", err, pod.DeletionTimestamp)
	}
	if _, err := pods.Patch(ctx, "b", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "b", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its finalizer: got %v, want not found", err)
	}
	if _, err := pods.Create(ctx, newPod("c"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	foreground := metav1.DeletePropagationForeground
	if err := pods.Delete(ctx, "c", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	if pod, err = pods.Get(ctx, "c", metav1.GetOptions{}); err != nil || len(pod.Finalizers) != 1 || pod.Finalizers[0] != metav1.FinalizerDeleteDependents {
		t.Errorf("foreground deletion: %v, finalizers %v", err, pod.Finalizers)
	}
}

// Lists in chunks, and a list and watch in one with its bookmark.
func TestListAndWatchList(t *testing.T) {
	s := apitest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	configMaps := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("default")
	for i := range 25 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("cm-%02d", i), Labels: map[string]string{"odd": fmt.Sprint(i % 2)}}}
		if _, err := configMaps.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	options := metav1.ListOptions{Limit: 10}
	for {
		list, err := configMaps.List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		for _, cm := range list.Items {
			names = append(names, cm.Name)
		}
		if options.Continue = list.Continue; options.Continue == "" {
			break
		}
		// What changes between the chunks does not show in them.
		if err := configMaps.Delete(ctx, "cm-24", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if len(names) != 25 || names[0] != "cm-00" || names[24] != "cm-24" {
		t.Errorf("in chunks: %d names %v", len(names), names)
	}
	initial := true
	w, err := configMaps.Watch(ctx, metav1.ListOptions{
		LabelSelector: "odd=1", SendInitialEvents: &initial, AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	added := 0
	for e := range w.ResultChan() {
		if e.Type == watch.Added {
			added++
			continue
		}
		if e.Type != watch.Bookmark || e.Object.(metav1.Object).GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
			t.Errorf("after the initial events: %v", e)
		}
		break
	}
	if added != 12 {
		t.Errorf("initial events: %d, want 12", added)
	}
}

// What a watch tells from a list on leads to the state that a later list
// shows, with all writers at once and every object seen in order.
func TestWatchFollows(t *testing.T) {
	s := apitest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := kubernetes.NewForConfigOrDie(s.Config)
	inside := kubernetes.NewForConfigOrDie(s.API.InProcess("writer", "system:masters"))
	start, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	watches := map[string]watch.Interface{}
	for name, c := range map[string]kubernetes.Interface{"https": client, "in-process": inside} {
		if watches[name], err = c.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{ResourceVersion: start.ResourceVersion}); err != nil {
			t.Fatal(err)
		}
		defer watches[name].Stop()
	}
	var writers sync.WaitGroup
	for n, c := range []kubernetes.Interface{client, inside, client, inside} {
		writers.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("cm-%d-%d", n, i%5)
				configMaps := c.CoreV1().ConfigMaps("default")
				cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"i": fmt.Sprint(i)}}
				_, err := configMaps.Create(ctx, cm, metav1.CreateOptions{})
				if apierrors.IsAlreadyExists(err) {
					_, err = configMaps.Update(ctx, cm, metav1.UpdateOptions{})
				}
				if err == nil && i%7 == 0 {
					err = configMaps.Delete(ctx, name, metav1.DeleteOptions{})
				}
				if err != nil {
					t.Errorf("write %s: %v", name, err)
					return
				}
			}
		})
	}
	writers.Wait()
	last, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "last"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	end, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, cm := range end.Items {
		want[cm.Name] = cm.ResourceVersion
	}
	for name, w := range watches {
		got := map[string]string{}
		for e := range w.ResultChan() {
			cm, ok := e.Object.(*corev1.ConfigMap)
			if !ok {
				t.Fatalf("%s: event %v", name, e)
			}
			_, known := got[cm.Name]
			if known != (e.Type != watch.Added) {
				t.Errorf("%s: %s of %s, known before: %v", name, e.Type, cm.Name, known)
			}
			if e.Type == watch.Deleted {
				delete(got, cm.Name)
			} else {
				got[cm.Name] = cm.ResourceVersion
			}
			if cm.Name == last.Name {
				break
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s: the watch led to\n%v\nthe list shows\n%v", name, got, want)
		}
	}
}
