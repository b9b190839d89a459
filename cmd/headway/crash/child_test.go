package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/store"
	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
	"headway.dev/syncer"
)

// The child's parameters.
const (
	dirEnv    = "HEADWAY_CRASH_DIR"    // the data directory
	repoEnv   = "HEADWAY_CRASH_REPO"   // the repository to follow
	commitEnv = "HEADWAY_CRASH_COMMIT" // the commit to reach
	callEnv   = "HEADWAY_CRASH_CALL"   // the call of the store to die at; 0: none
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child follows the repository until the commit is applied, and prints how
// often it called the store and which calls began and ended a transaction.
func child(dir string) (err error) {
	s, err := openStore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	at, _ := strconv.ParseInt(os.Getenv(callEnv), 10, 64)
	counted := &mortal{Store: s, at: at}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	sync := syncer.New(syncer.Config{Store: counted, DataDir: dir, Local: map[string]string{"headway-system/cluster": os.Getenv(repoEnv)}})
	go func() { done <- sync.Run(ctx) }()
	want := "main@sha1:" + os.Getenv(commitEnv)
	for applied(s) != want && ctx.Err() == nil {
		<-time.After(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if got := applied(s); got != want {
		return fmt.Errorf("applied is %q, want %q", got, want)
	}
	fmt.Println(counted.calls.Load())
	return nil
}

// mortal kills the process at one call of the store: before it, or after it
// for the calls that write.
type mortal struct {
	*store.Store
	at    int64
	calls atomic.Int64
}

func (m *mortal) step() {
	if m.calls.Add(1) == m.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
}

func (m *mortal) Get(key object.Key) object.Object {
	m.step()
	return m.Store.Get(key)
}

func (m *mortal) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	m.step()
	return m.Store.List(kind, namespace)
}

func (m *mortal) Records(log string, from int64, limit int) ([][]byte, error) {
	m.step()
	return m.Store.Records(log, from, limit)
}

func (m *mortal) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	m.step()
	states, err := m.Store.Commit(ctx, tx)
	m.step()
	return states, err
}

func openStore(dir string) (*store.Store, error) {
	return store.Open(store.Options{Path: filepath.Join(dir, "store.db")})
}

func closeStore(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func ksKey() object.Key {
	return object.Key{GroupKind: schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}, Namespace: "headway-system", Name: "cluster"}
}

func applied(s *store.Store) string {
	ks, ok := s.Get(ksKey()).(*kustomizev1.Kustomization)
	if !ok {
		return ""
	}
	return ks.Status.LastAppliedRevision
}

// prepare makes a store with the source and its Kustomization.
func prepare(t *testing.T, dir, repo string) {
	t.Helper()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	meta := metav1.ObjectMeta{Namespace: "headway-system", Name: "cluster"}
	hour := metav1.Duration{Duration: time.Hour}
	objects := []object.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "headway-system"}},
		&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{
			URL: "file://" + repo, Interval: hour, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}},
		&kustomizev1.Kustomization{ObjectMeta: meta, Spec: kustomizev1.KustomizationSpec{
			Interval: hour, Path: "./", Prune: true, SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster"},
		}},
	}
	var tx change.Tx
	for _, o := range objects {
		tx.Changes = append(tx.Changes, change.Create(o, time.Now()))
	}
	if _, err := s.Commit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
}
