package syncer_test

import (
	"context"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/env"
)

// forgetful is a store that keeps no events while it is told to: who follows them then
// has to list again.
type forgetful struct {
	env.Store
	mu      sync.Mutex
	forgets bool
}

func (f *forgetful) forget(is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgets = is
}

// Watch implements env.Store.
func (f *forgetful) Watch(from uint64, kinds ...schema.GroupKind) (object.Watcher, error) {
	w, err := f.Store.Watch(from, kinds...)
	return &forgetfulWatcher{Watcher: w, of: f}, err
}

type forgetfulWatcher struct {
	object.Watcher
	of      *forgetful
	expired bool
}

// Next implements object.Watcher.
func (w *forgetfulWatcher) Next(ctx context.Context) ([]object.Event, error) {
	for {
		events, err := w.Watcher.Next(ctx)
		w.of.mu.Lock()
		forgets := w.of.forgets
		w.of.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case forgets:
			w.expired = true
		case w.expired:
			return nil, object.ErrExpired
		default:
			return events, nil
		}
	}
}

// A syncer that fell so far behind that events are not kept any more finds out what they
// were about: what was changed by hand is healed.
func TestMissedEventsAreCaughtUpWith(t *testing.T) {
	var f *forgetful
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, nil, func(c *syncer.Config) {
		f = &forgetful{Store: c.Store}
		c.Store = f
	})
	w.applied(w.main())
	w.eventually("all of it is noted", w.store.Handled)
	f.forget(true)
	w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("the syncer is told of nothing", w.store.Handled)
	f.forget(false)
	other := &corev1.ConfigMap{}
	other.Namespace, other.Name = "default", "other"
	w.create(other)
	w.eventually("the drift is healed", func() bool { return w.configMap("a")["key"] == "one" })
}
