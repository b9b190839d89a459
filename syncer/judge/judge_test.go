package judge_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/journal"
	"headway.dev/syncer/judge"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/step"
	"headway.dev/syncer/verdict"
	"headway.dev/syncer/wire"
)

const revision = "main@sha1:1111111111111111111111111111111111111111"

// full is a store that cannot write for a while.
type full struct {
	*memstore.Store
	refuses int
}

func (f *full) Commit(ctx context.Context, tx change.Tx) ([]object.Object, error) {
	if f.refuses > 0 {
		f.refuses--
		return nil, errors.New("no space left on device")
	}
	return f.Store.Commit(ctx, tx)
}

// A verdict that the store cannot take is not lost: nothing follows from it, and it
// is given again a moment later, good or bad.
func TestVerdictOutlivesAFullDisk(t *testing.T) {
	for name, tc := range map[string]struct {
		after  time.Duration
		absent bool
		want   wire.Verdict
	}{
		"healthy": {after: 0, want: wire.VerdictHealthy},
		"failed":  {after: time.Hour, absent: true, want: wire.VerdictFailed},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			store := &full{Store: memstore.New()}
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}}
			ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app", Generation: 1}, Spec: kustomizev1.KustomizationSpec{Wait: true}}
			inventory := []object.Key{{GroupKind: flux.ConfigMap, Namespace: "team", Name: "web"}}
			changes := []change.Change{change.Create(ks, now)}
			if !tc.absent {
				changes = append(changes, change.Create(cm, now))
			}
			if _, err := store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
				t.Fatal(err)
			}
			key := flux.KeyOf(ks)
			applied := status.Applied{Snapshot: status.Snapshot{Revision: revision}, Newest: revision, Judge: true, Waits: true, Inventory: flux.Inventory(inventory, nil)}
			if _, err := store.Commit(t.Context(), change.Tx{Changes: []change.Change{applied.Edit(now).Change(key)}}); err != nil {
				t.Fatal(err)
			}
			var concluded []bool
			j := &judge.Judge{
				Env: &env.Env{Store: store, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}, Journal: journal.New(store, 0),
				Key: key, Expressions: &verdict.Expressions{}, Newest: func(string) bool { return true },
				Concluded: func(_ step.Attempt, ok bool) { concluded = append(concluded, ok) },
			}
			get := func() *kustomizev1.Kustomization { return store.Get(key).(*kustomizev1.Kustomization) }
			j.Watch(get(), judge.Subject{Head: source.Head{Head: git.Head{Name: "main", Branch: true, Commit: revision[len("main@sha1:"):]}}, Inventory: inventory})
			now = now.Add(tc.after)
			store.refuses = 2
			for range 2 {
				j.Judge(t.Context())
				if len(concluded) > 0 || !j.Open() {
					t.Fatalf("concluded %v, open %v, though nothing was stored", concluded, j.Open())
				}
				next := j.NextLook(now)
				if !next.After(now) || next.After(now.Add(time.Minute)) {
					t.Fatalf("it is given again at %s, now is %s", next, now)
				}
				now = next
			}
			j.Judge(t.Context())
			if st := verdict.Of(get()); st.Result != tc.want || st.Revision != revision {
				t.Errorf("what is stored is %+v, want %s", st, tc.want)
			}
			if want := []bool{tc.want == wire.VerdictHealthy}; !slices.Equal(concluded, want) {
				t.Errorf("concluded %v, want %v", concluded, want)
			}
		})
	}
}
