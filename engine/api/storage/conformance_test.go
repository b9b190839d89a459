package storage_test

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/apitesting"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apiserver/pkg/apis/example"
	examplev1 "k8s.io/apiserver/pkg/apis/example/v1"
	k8sstorage "k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"

	"headway.dev/engine/api/storage"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// The tests of k8s.io/apiserver/pkg/storage/testing run against Storage. Left
// out, because they test what only etcd's storage and the watch cache have:
//
//   - RunTestListContinuation, …WithFilter, RunTestListPaginationRareObject run,
//     but without counting the calls to etcd;
//   - RunTestTransformationFailure, RunTestWatchError,
//     RunWatchErrorIsBlockingFurtherEvents, RunTestWatchWithUnsafeDelete,
//     RunTestGetListWithErrorAggregation, …WithoutErrorAggregation,
//     RunTestGuaranteedUpdateChecksStoredData,
//     RunTestDelete…ExpectedTransformOrDecodeError: they replace the
//     transformer of encrypted bytes between the storage and etcd, to make
//     reading fail. Reads here decode nothing.

var podKind = schema.GroupKind{Group: "example.apiserver.k8s.io", Kind: "Pod"}

func TestMain(m *testing.M) {
	// The library's tests leave these running.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		goleak.IgnoreAnyFunction("k8s.io/component-base/metrics.init"))
}

type fixture struct {
	*storage.Storage
	store *store.Store
	codec runtime.Codec
}

// UpdatePrefixTransformer makes fixture an InterfaceWithPrefixTransformer:
// there is no transformer to update.
func (fixture) UpdatePrefixTransformer(storagetesting.PrefixTransformerModifier) func() {
	return func() {}
}

// setup opens a store with the library's example Pods.
func setup(tb testing.TB, options ...func(*storage.Config)) (context.Context, fixture) {
	tb.Helper()
	s := runtime.NewScheme()
	metav1.AddToGroupVersion(s, metav1.SchemeGroupVersion)
	utilruntime.Must(example.AddToScheme(s))
	utilruntime.Must(examplev1.AddToScheme(s))
	codec := apitesting.TestCodec(serializer.NewCodecFactory(s), examplev1.SchemeGroupVersion)
	st, err := store.Open(store.Options{
		Path: filepath.Join(tb.TempDir(), "db"),
		Codec: func(kind schema.GroupKind) record.Codec {
			if kind == podKind {
				return exampleCodec{codec}
			}
			return record.Served(kind)
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	config := storage.Config{
		Store:  st,
		Kind:   podKind,
		Prefix: "/pods",
		New:    func() runtime.Object { return &example.Pod{} },
	}
	for _, o := range options {
		o(&config)
	}
	a, err := storage.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(func() {
		cancel()
		a.Destroy()
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	return ctx, fixture{a, st, codec}
}

type exampleCodec struct{ runtime.Codec }

func (c exampleCodec) Encode(obj object.Object) ([]byte, error) { return runtime.Encode(c.Codec, obj) }

func (c exampleCodec) Decode(data []byte) (object.Object, error) {
	obj, err := runtime.Decode(c.Codec, data)
	if err != nil {
		return nil, err
	}
	return obj.(object.Object), nil
}

// increaseRevision writes an object of another kind.
func (f fixture) increaseRevision(_ context.Context, t *testing.T) int64 {
	t.Helper()
	key := object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "other", Name: "other"}
	_, err := f.store.Commit(context.Background(), change.Tx{Changes: []change.Change{{Key: key, Mutate: func(object.Object) (object.Object, error) {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "other"}}, nil
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	return int64(f.store.Revision())
}

// compact forgets the history and, as the compaction of etcd's storage does,
// uses up a revision.
func (f fixture) compact(ctx context.Context, t *testing.T, resourceVersion string) {
	t.Helper()
	revision, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	f.store.Forget(revision)
	f.increaseRevision(ctx, t)
}

// stored checks what is in the store.
func (f fixture) stored(ctx context.Context, t *testing.T, key string) {
	t.Helper()
	pod := &example.Pod{}
	if err := f.Get(ctx, key, k8sstorage.GetOptions{}, pod); err != nil {
		t.Errorf("Get(%s): %v", key, err)
	}
	if pod.SelfLink != "" { //nolint:staticcheck // it must stay empty
		t.Error("stored object has a selfLink")
	}
}

func anyCalls(*testing.T, uint64, uint64) {}

func TestConformance(t *testing.T) {
	plain := map[string]func(context.Context, *testing.T, k8sstorage.Interface){
		"CreateWithTTL":                       storagetesting.RunTestCreateWithTTL,
		"CreateWithKeyExist":                  storagetesting.RunTestCreateWithKeyExist,
		"Get":                                 storagetesting.RunTestGet,
		"UnconditionalDelete":                 storagetesting.RunTestUnconditionalDelete,
		"ConditionalDelete":                   storagetesting.RunTestConditionalDelete,
		"DeleteWithSuggestion":                storagetesting.RunTestDeleteWithSuggestion,
		"DeleteWithSuggestionAndConflict":     storagetesting.RunTestDeleteWithSuggestionAndConflict,
		"DeleteWithConflict":                  storagetesting.RunTestDeleteWithConflict,
		"DeleteWithSuggestionOfDeletedObject": storagetesting.RunTestDeleteWithSuggestionOfDeletedObject,
		"ValidateDeletionWithSuggestion":      storagetesting.RunTestValidateDeletionWithSuggestion,
		"ValidateDeletionWithOnlySuggestion":  storagetesting.RunTestValidateDeletionWithOnlySuggestionValid,
		"PreconditionalDeleteWithSuggestion":  storagetesting.RunTestPreconditionalDeleteWithSuggestion,
		"PreconditionalDeleteOnlySuggestion":  storagetesting.RunTestPreconditionalDeleteWithOnlySuggestionPass,
		"GetListRecursivePrefix":              storagetesting.RunTestGetListRecursivePrefix,
		"GuaranteedUpdateWithTTL":             storagetesting.RunTestGuaranteedUpdateWithTTL,
		"GuaranteedUpdateWithConflict":        storagetesting.RunTestGuaranteedUpdateWithConflict,
		"GuaranteedUpdateSuggestionConflict":  storagetesting.RunTestGuaranteedUpdateWithSuggestionAndConflict,
		"ListPaging":                          storagetesting.RunTestListPaging,
		"NamespaceScopedList":                 storagetesting.RunTestNamespaceScopedList,
		"KeySchema":                           storagetesting.RunTestKeySchema,
		"Watch":                               storagetesting.RunTestWatch,
		"DeleteTriggerWatch":                  storagetesting.RunTestDeleteTriggerWatch,
		"WatchFromNonZero":                    storagetesting.RunTestWatchFromNonZero,
		"DelayedWatchDelivery":                storagetesting.RunTestDelayedWatchDelivery,
		"WatchContextCancel":                  storagetesting.RunTestWatchContextCancel,
		"WatcherTimeout":                      storagetesting.RunTestWatcherTimeout,
		"WatchDeleteEventObjectHaveLatestRV":  storagetesting.RunTestWatchDeleteEventObjectHaveLatestRV,
		"WatchInitializationSignal":           storagetesting.RunTestWatchInitializationSignal,
		"ClusterScopedWatch":                  storagetesting.RunTestClusterScopedWatch,
		"NamespaceScopedWatch":                storagetesting.RunTestNamespaceScopedWatch,
		"SendInitialEventsBackwardCompat":     storagetesting.RunSendInitialEventsBackwardCompatibility,
		"WatchSemantics":                      storagetesting.RunWatchSemantics,
		"WatchSemanticInitialEventsExtended":  storagetesting.RunWatchSemanticInitialEventsExtended,
		"WatchListMatchSingle":                storagetesting.RunWatchListMatchSingle,
		"OptionalWatchBookmarksWithCorrectRV": storagetesting.RunTestOptionalWatchBookmarksWithCorrectResourceVersion,
	}
	for name, run := range plain {
		t.Run(name, func(t *testing.T) {
			ctx, f := setup(t)
			run(ctx, t, f)
		})
	}
	special := map[string]func(context.Context, *testing.T, fixture){
		"Create": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestCreate(ctx, t, f, f.stored)
		},
		"GuaranteedUpdate": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestGuaranteedUpdate(ctx, t, f, f.stored)
		},
		"List": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestList(ctx, t, f, f.compact, false, nil)
		},
		"ConsistentList": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestConsistentList(ctx, t, f, f.increaseRevision, false, true, false)
		},
		"GetListNonRecursive": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestGetListNonRecursive(ctx, t, f.increaseRevision, f)
		},
		"ListResourceVersionMatch": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestListResourceVersionMatch(ctx, t, f)
		},
		"ListContinuation": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestListContinuation(ctx, t, f, anyCalls)
		},
		"ListPaginationRareObject": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestListPaginationRareObject(ctx, t, f, anyCalls)
		},
		"ListContinuationWithFilter": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestListContinuationWithFilter(ctx, t, f, anyCalls)
		},
		"ListInconsistentContinuation": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestListInconsistentContinuation(ctx, t, f, f.compact)
		},
		"CompactRevision": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestCompactRevision(ctx, t, f, f.increaseRevision, f.compact)
		},
		"Stats": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestStats(ctx, t, f, f.codec, identity.NewEncryptCheckTransformer(), false)
		},
		"WatchFromZero": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestWatchFromZero(ctx, t, f, f.compact)
		},
		"WatchDispatchBookmarkEvents": func(ctx context.Context, t *testing.T, f fixture) {
			t.Helper()
			storagetesting.RunTestWatchDispatchBookmarkEvents(ctx, t, f, true)
		},
	}
	for name, run := range special {
		t.Run(name, func(t *testing.T) {
			ctx, f := setup(t)
			run(ctx, t, f)
		})
	}
	t.Run("ProgressNotify", func(t *testing.T) {
		ctx, f := setup(t, func(c *storage.Config) { c.BookmarkInterval = 100 * time.Millisecond })
		storagetesting.RunOptionalTestProgressNotify(ctx, t, f, f.increaseRevision)
	})
}
