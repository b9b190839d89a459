package controllers_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers"
	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/replicaset"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// lagging tells controllers of every event late.
type lagging struct {
	control.Store
	lag time.Duration
}

func (l lagging) Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error) {
	w, err := l.Store.Watch(from, kinds...)
	if err != nil {
		return nil, err
	}
	return lateWatcher{w, l.lag}, nil
}

type lateWatcher struct {
	object.Watcher
	lag time.Duration
}

func (w lateWatcher) Next(ctx context.Context) ([]object.Event, error) {
	events, err := w.Watcher.Next(ctx)
	select {
	case <-time.After(w.lag):
		return events, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A feed that is seconds behind slows the controllers down and makes them
// create nothing twice.
func TestLaggingFeed(t *testing.T) {
	c := start(t, 1, func(cfg *controllers.Config) { cfg.Store = lagging{cfg.Store, 1300 * time.Millisecond} })
	watcher, err := c.store.Watch(0, control.ReplicaSet, control.Pod)
	if err != nil {
		t.Fatal(err)
	}
	c.commit(change.Create(newDeployment("web", 3), time.Now()))
	// Events that ask for another look come all the time.
	ctx, cancel := context.WithCancel(t.Context())
	touched := make(chan error, 1)
	go func() { touched <- touch(ctx, c.store) }()
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	cancel()
	if err := <-touched; err != nil {
		t.Error(err)
	}
	created := map[string]int{}
	events, err := watcher.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range events {
		if ev.Type == object.Added {
			created[ev.Key.Kind]++
		}
	}
	if created["ReplicaSet"] != 1 || created["Pod"] != 3 {
		t.Errorf("created were %v, want 1 ReplicaSet and 3 Pods", created)
	}
	if n := c.deployment("web").Status.CollisionCount; n != nil {
		t.Errorf("collisionCount = %d, want none", *n)
	}
}

// touch annotates the Deployment and its sets again and again.
func touch(ctx context.Context, s *store.Store) error {
	for i := 0; ; i++ {
		edit := func(obj object.Object) bool {
			annotations := maps.Clone(obj.GetAnnotations())
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations["example.com/touched"] = fmt.Sprint(i)
			obj.SetAnnotations(annotations)
			return true
		}
		changes := []change.Change{change.Patch(deploymentKey("web"), edit)}
		sets, _ := s.List(control.ReplicaSet, "default")
		for _, rs := range sets {
			changes = append(changes, change.Patch(object.KeyOf(control.ReplicaSet, rs), edit))
		}
		if _, err := s.Commit(ctx, change.Tx{Changes: changes}); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// A set of the Deployment's own that has the template is no collision of
// names, also if the feed has not told of it yet.
func TestSameTemplateIsNoCollision(t *testing.T) {
	var learned *appsv1.ReplicaSet
	t.Run("learn the set's name", func(t *testing.T) {
		c := start(t, 1)
		c.commit(change.Create(newDeployment("web", 1), time.Now()))
		c.eventually("rollout", func() bool { return c.rolledOut("web") })
		learned = c.newest(c.deployment("web"))
	})
	c := start(t, 1, func(cfg *controllers.Config) { cfg.Store = lagging{cfg.Store, 700 * time.Millisecond} })
	d := newDeployment("web", 1)
	c.commit(change.Create(d, time.Now()))
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: learned.Name, Labels: learned.Labels, Annotations: learned.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: learned.Spec,
	}
	c.commit(change.Create(set, time.Now()))
	c.eventually("rollout", func() bool { return c.rolledOut("web") })
	if sets, _ := c.store.List(control.ReplicaSet, "default"); len(sets) != 1 {
		t.Errorf("%d replica sets, want only %s", len(sets), learned.Name)
	}
	if n := c.deployment("web").Status.CollisionCount; n != nil {
		t.Errorf("collisionCount = %d, want none", *n)
	}
}

// BenchmarkPodEvents takes an event of a pod through the feed in a namespace
// with 11,000 replica sets.
func BenchmarkPodEvents(b *testing.B) {
	s, err := store.Open(store.Options{Path: filepath.Join(b.TempDir(), "db")})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	labels := func(i int) map[string]string { return map[string]string{"app": fmt.Sprintf("app-%d", i)} }
	pod := func(i int) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pod", Labels: labels(i)},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example/web:1"}}},
		}
	}
	var tx change.Tx
	for i := range 11_000 {
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("app-%d", i)}}
		rs.Spec.Replicas = new(int32(0))
		rs.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels(i)}
		rs.Spec.Template = corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels(i)}, Spec: pod(i).Spec}
		tx.Changes = append(tx.Changes, change.Create(rs, time.Now()))
	}
	tx.Changes = append(tx.Changes, change.Create(pod(0), time.Now()))
	if _, err := s.Commit(b.Context(), tx); err != nil {
		b.Fatal(err)
	}
	env := control.Env{Store: s, Feed: control.NewFeed(s, &scheme.Registry{}, nil), Now: time.Now}
	ctl := replicaset.New(env)
	ctl.Reconcile = func(context.Context, object.Key) (time.Duration, error) { return 0, nil }
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- control.Run(ctx, env, []control.Controller{ctl}) }()
	key := object.Key{GroupKind: control.Pod, Namespace: "default", Name: "pod"}
	n := 0
	for b.Loop() {
		n++
		_, err := env.Commit(ctx, change.Tx{Durability: change.Behind, Changes: []change.Change{change.Patch(key, func(obj object.Object) bool {
			obj.SetAnnotations(map[string]string{"n": fmt.Sprint(n)})
			return true
		})}})
		if err != nil {
			b.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
}
