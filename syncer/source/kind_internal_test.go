package source

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/tree"
)

var bucketKind = schema.GroupKind{Group: sourcev1.GroupVersion.Group, Kind: sourcev1.BucketKind}

// buckets is a kind whose sources have no Git repository: the endpoint is the
// content of their one file.
type buckets struct{}

func (buckets) Spec(o object.Object) Spec {
	b, _ := o.(*sourcev1.Bucket)
	return Spec{Interval: b.Spec.Interval.Duration, Suspend: b.Spec.Suspend, URL: b.Spec.Endpoint, Secrets: []string{b.Spec.SecretRef.Name}}
}

func (buckets) Follow(src *Source) Follower { return &bucket{Source: src} }

type bucket struct{ *Source }

var errNoHistory = errors.New("a Bucket has no history")

func (src *bucket) Look(_ context.Context, o object.Object, _ *sync.WaitGroup) error {
	b, _ := o.(*sourcev1.Bucket)
	if b.Spec.Endpoint == "" {
		return errors.New("no endpoint")
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	src.head, src.content = git.Head{Name: b.Spec.BucketName, Commit: strings.Repeat("b", 40)}, files(b.Spec.Endpoint)
	return nil
}

func (src *bucket) Report(context.Context, object.Object, error, int, time.Time) {}

func (src *bucket) Failed() time.Duration { return time.Minute }

func (src *bucket) Close() {}

func (src *bucket) Host(object.Object) string { return src.Name() }

func (src *bucket) Unreachable(object.Object, error) bool { return false }

func (src *bucket) Outdated(object.Object, object.Key, string) bool { return false }

func (src *bucket) Branch(object.Object) (Branch, error) { return Branch{}, errNoHistory }

func (src *bucket) Trusted(object.Object, string) (string, error) { return "", errNoHistory }

// files is the content of a bucket.
type files string

func (f files) Tree(git.Head, string) (tree.Tree, error) {
	t, err := tree.NewFiles(map[string]string{"a.yaml": string(f)})
	return t, err
}

func (f files) Mark() string { return string(f) }

func (f files) IncludedFrom(string) string { return "" }

func (f files) Repository() (*git.Repository, error) { return nil, errNoHistory }

// shelf is a store with an object of a kind that is not served.
type shelf struct {
	*memstore.Store
	mu     sync.Mutex
	bucket *sourcev1.Bucket
}

func (s *shelf) Get(key object.Key) object.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key.GroupKind != bucketKind {
		return s.Store.Get(key)
	}
	if s.bucket == nil || key.Namespace != s.bucket.Namespace || key.Name != s.bucket.Name {
		return nil
	}
	return s.bucket
}

func (s *shelf) put(b *sourcev1.Bucket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bucket = b
}

// Another kind is an implementation of Kind and an entry in kinds: its sources are
// followed, what follows them gets their heads, and what needs Git is told why it
// cannot have it.
func TestAnotherKind(t *testing.T) {
	kinds[bucketKind] = buckets{}
	t.Cleanup(func() { delete(kinds, bucketKind) })
	spec := sourcev1.BucketSpec{BucketName: "app", Endpoint: "first", Interval: metav1.Duration{Duration: time.Hour}}
	spec.SecretRef = &meta.LocalObjectReference{Name: "keys"}
	store := &shelf{Store: memstore.New(), bucket: &sourcev1.Bucket{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"}, Spec: spec}}
	e := &env.Env{Store: store, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	events, stop := e.Feed.Subscribe()
	defer stop()
	set := New(e, Options{
		Apply:     func(ctx context.Context, _ *Source, _ *sync.WaitGroup) { <-ctx.Done() },
		OnHead:    func(object.Key) {},
		Suspended: func(context.Context, object.Key, object.Object) {},
	})
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"}}
	ks.Spec.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.BucketKind, Name: "app"}
	if _, err := set.HeadOf(ks); !errors.Is(err, ErrNotYet) {
		t.Fatalf("before there is a loop: %v", err)
	}
	src, _ := set.Ensure(object.Key{GroupKind: bucketKind, Namespace: "team", Name: "app"})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { src.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	content := func() string {
		h, err := set.HeadOf(ks)
		if err != nil {
			return err.Error()
		}
		files, err := h.Tree("")
		if err != nil {
			return err.Error()
		}
		data, err := fs.ReadFile(files, "a.yaml")
		if err != nil {
			return err.Error()
		}
		return h.Name + " " + string(data)
	}
	looked := func(n int) {
		t.Helper()
		for {
			if looks, _, _ := src.Looks(); looks >= n {
				return
			}
			select {
			case <-events:
			case <-t.Context().Done():
				t.Fatal("it is not looked at")
			}
		}
	}
	looked(1)
	if got := content(); got != "app first" {
		t.Errorf("the head has %q", got)
	}
	next := store.bucket.DeepCopy()
	next.Spec.Endpoint = "second"
	store.put(next)
	set.WakeUsers(object.Key{Namespace: "team", Name: "keys"})
	looked(2)
	if got := content(); got != "app second" {
		t.Errorf("the head then has %q", got)
	}
	next = next.DeepCopy()
	next.Spec.Endpoint = ""
	store.put(next)
	src.Wake()
	looked(3)
	if _, _, err := src.Looks(); err == nil || content() != "app second" {
		t.Errorf("after an outage: %v, the head has %q", err, content())
	}
	h, _ := src.Current()
	_, noRepository := h.Repository()
	_, noBranch := src.Branch()
	_, noCommit := src.Commit(h.Commit)
	_, noSigner := src.Trusted(h.Commit)
	for what, err := range map[string]error{"repository": noRepository, "branch": noBranch, "commit": noCommit, "signer": noSigner} {
		if !errors.Is(err, errNoHistory) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if ks.Spec.SourceRef.Kind = "OCIRepository"; !strings.Contains(content(), "source kind OCIRepository is not supported") {
		t.Errorf("a kind that there is not: %s", content())
	}
}
