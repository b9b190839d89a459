package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"

	"headway.dev/engine/api/storage"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// strategy lets everything through.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

func (strategy) NamespaceScoped() bool                                            { return true }
func (strategy) PrepareForCreate(context.Context, runtime.Object)                 {}
func (strategy) Validate(context.Context, runtime.Object) field.ErrorList         { return nil }
func (strategy) WarningsOnCreate(context.Context, runtime.Object) []string        { return nil }
func (strategy) Canonicalize(runtime.Object)                                      {}
func (strategy) AllowCreateOnUpdate(context.Context) bool                         { return false }
func (strategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (strategy) AllowUnconditionalUpdate(context.Context) bool                    { return true }
func (strategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (strategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

// configMaps is the library's registry for ConfigMaps on a store.
func configMaps(tb testing.TB) (*registry.Store, *store.Store) {
	tb.Helper()
	s, err := store.Open(store.Options{Path: filepath.Join(tb.TempDir(), "db")})
	if err != nil {
		tb.Fatal(err)
	}
	all := strategy{scheme.Scheme, names.SimpleNameGenerator}
	resource := schema.GroupResource{Resource: "configmaps"}
	r := &registry.Store{
		NewFunc:                   func() runtime.Object { return &corev1.ConfigMap{} },
		NewListFunc:               func() runtime.Object { return &corev1.ConfigMapList{} },
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Resource: "configmap"},
		CreateStrategy:            all, UpdateStrategy: all, DeleteStrategy: all,
		TableConvertor: rest.NewDefaultTableConvertor(resource),
	}
	options := storage.Options{Store: s, Codec: scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion)}
	if err := r.CompleteWithOptions(&generic.StoreOptions{RESTOptions: options}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		r.DestroyFunc()
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r, s
}

func requestContext() context.Context {
	return request.WithNamespace(context.Background(), "default")
}

func configMap(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Data: map[string]string{"value": value}}
}

func create(tb testing.TB, r *registry.Store, obj *corev1.ConfigMap) *corev1.ConfigMap {
	tb.Helper()
	out, err := r.Create(requestContext(), obj, rest.ValidateAllObjectFunc, &metav1.CreateOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return out.(*corev1.ConfigMap)
}

// The library's registry works on the store, and nothing that it hands out is
// the store's own.
func TestRegistry(t *testing.T) {
	r, s := configMaps(t)
	ctx := requestContext()
	key := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "a"}
	given := configMap("a", "1")
	created := create(t, r, given)
	if created.ResourceVersion == "" || created.UID == "" {
		t.Errorf("created object lacks resourceVersion or uid: %+v", created.ObjectMeta)
	}
	got, err := r.Get(ctx, "a", &metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	given.Data["value"], created.Data["value"] = "changed", "changed"
	got.(*corev1.ConfigMap).Data["value"] = "changed"
	if v := s.Get(key).(*corev1.ConfigMap).Data["value"]; v != "1" {
		t.Errorf("stored value = %s: a caller changed the stored object", v)
	}
	if _, err := r.Create(ctx, configMap("a", "x"), rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second create: %v, want AlreadyExists", err)
	}
	next := configMap("a", "2")
	next.ResourceVersion = "1"
	update := func(obj runtime.Object) error {
		_, _, err := r.Update(ctx, "a", rest.DefaultUpdatedObjectInfo(obj), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{})
		return err
	}
	if err := update(next); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v, want Conflict", err)
	}
	next.ResourceVersion = s.Get(key).GetResourceVersion()
	if err := update(next); err != nil {
		t.Fatal(err)
	}
	if v := s.Get(key).(*corev1.ConfigMap).Data["value"]; v != "2" {
		t.Errorf("stored value = %s, want 2", v)
	}
	if _, _, err := r.Delete(ctx, "a", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Get(ctx, "a", &metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get after delete: %v, want NotFound", err)
	}
}

// Lists in chunks show one state, whatever is written in between.
func TestRegistryChunks(t *testing.T) {
	r, _ := configMaps(t)
	ctx := requestContext()
	for i := range 10 {
		create(t, r, configMap(fmt.Sprint("c", i), "1"))
	}
	var got []string
	opts := &metainternal.ListOptions{Limit: 3}
	for {
		obj, err := r.List(ctx, opts)
		if err != nil {
			t.Fatal(err)
		}
		list := obj.(*corev1.ConfigMapList)
		for _, item := range list.Items {
			got = append(got, item.Name)
		}
		if list.Continue == "" {
			break
		}
		if want := int64(10 - len(got)); list.RemainingItemCount == nil || *list.RemainingItemCount != want {
			t.Errorf("remaining = %v, want %d", list.RemainingItemCount, want)
		}
		opts.Continue = list.Continue
		create(t, r, configMap(fmt.Sprint("c9-", len(got)), "late"))
		if _, _, err := r.Delete(ctx, "c8", rest.ValidateAllObjectFunc, &metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if want := "[c0 c1 c2 c3 c4 c5 c6 c7 c8 c9]"; fmt.Sprint(got) != want {
		t.Errorf("listed %v, want %s", got, want)
	}
}

// Encoders write the type into what they encode: many at once, for the same
// events, lists and objects, must not touch what is shared. The race detector
// watches.
func TestEncodersDoNotShare(t *testing.T) {
	r, s := configMaps(t)
	create(t, r, configMap("first", "1"))
	const watchers, writes = 6, 20
	ctx, cancel := context.WithTimeout(requestContext(), time.Minute)
	defer cancel()
	encoder := scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion)
	encode := func(obj runtime.Object) string {
		var b bytes.Buffer
		if err := encoder.Encode(obj, &b); err != nil {
			t.Errorf("encode: %v", err)
		}
		return b.String()
	}
	var group sync.WaitGroup
	results := make([]string, watchers)
	for i := range watchers {
		w, err := r.Watch(ctx, &metainternal.ListOptions{FieldSelector: fields.Everything()})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			defer w.Stop()
			for range writes + 1 {
				e := <-w.ResultChan()
				if e.Type != watch.Added {
					t.Errorf("event %s, want ADDED", e.Type)
				}
				results[i] += encode(e.Object)
				list, err := r.List(ctx, &metainternal.ListOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				encode(list)
			}
		})
	}
	for i := range writes {
		create(t, r, configMap(fmt.Sprint("c", i), "1"))
	}
	group.Wait()
	for i, got := range results {
		if got != results[0] || got == "" {
			t.Errorf("watcher %d got other bytes than watcher 0", i)
		}
	}
	objs, _ := s.List(schema.GroupKind{Kind: "ConfigMap"}, "")
	for _, obj := range objs {
		if !obj.GetObjectKind().GroupVersionKind().Empty() {
			t.Errorf("an encoder wrote %s into the stored object", obj.GetObjectKind().GroupVersionKind())
		}
	}
}

// Events found at the start expire: their time to live did not survive.
func TestRestoredTTL(t *testing.T) {
	ctx, f := setup(t)
	f.increaseRevision(ctx, t)
	kind := schema.GroupKind{Kind: "ConfigMap"}
	a, err := storage.New(storage.Config{
		Store: f.store, Kind: kind, Prefix: "/configmaps", RestoredTTL: time.Millisecond,
		New: func() runtime.Object { return &corev1.ConfigMap{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Destroy()
	w, err := f.store.Watch(f.store.Revision()-1, kind)
	if err != nil {
		t.Fatal(err)
	}
	for {
		wait, cancel := context.WithTimeout(ctx, 10*time.Second)
		events, err := w.Next(wait)
		cancel()
		if err != nil {
			t.Fatalf("waiting for the deletion: %v", err)
		}
		if last := events[len(events)-1]; last.Type == object.Deleted {
			return
		}
	}
}

func BenchmarkRegistryCreate(b *testing.B) {
	r, _ := configMaps(b)
	for _, writers := range []int{1, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			var group sync.WaitGroup
			var mu sync.Mutex
			n := 0
			b.ResetTimer()
			for w := range writers {
				group.Go(func() {
					for {
						mu.Lock()
						n++
						i := n
						mu.Unlock()
						if i > b.N {
							return
						}
						create(b, r, configMap(fmt.Sprintf("c%d-%d-%d-%d", b.N, writers, w, i), "1"))
					}
				})
			}
			group.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "creates/s")
		})
	}
}

func BenchmarkRegistryList10k(b *testing.B) {
	r, _ := configMaps(b)
	var group sync.WaitGroup
	for w := range 100 {
		group.Go(func() {
			for i := range 100 {
				create(b, r, configMap(fmt.Sprintf("c%d-%d", w, i), "1"))
			}
		})
	}
	group.Wait()
	for b.Loop() {
		if _, err := r.List(requestContext(), &metainternal.ListOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
