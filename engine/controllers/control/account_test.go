package control_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// A new account wakes up the owners whose pods run with it: not those of another account
// or namespace, and not when it is changed or goes.
func TestAccountKeys(t *testing.T) {
	s, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	commit := func(changes ...change.Change) {
		t.Helper()
		if _, err := s.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
			t.Fatal(err)
		}
	}
	at := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	owner := func(namespace, name, account string) change.Change {
		return change.Create(&corev1.PodTemplate{ObjectMeta: at(namespace, name), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{ServiceAccountName: account}}}, time.Now())
	}
	commit(owner("shop", "one", "robot"), owner("shop", "other", "clerk"), owner("shop", "two", "robot"), owner("shop", "unnamed", ""), owner("yard", "three", "robot"))

	kinds := &scheme.Registry{}
	feed := control.NewFeed(s, kinds, slog.New(slog.DiscardHandler))
	accounts := feed.Index("templates by account", control.ByAccount(func(obj object.Object) *corev1.PodSpec {
		if template, ok := obj.(*corev1.PodTemplate); ok {
			return &template.Template.Spec
		}
		return nil
	}))
	woken := make(chan map[string]bool)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- control.Run(ctx, control.Env{Store: s, Kinds: kinds, Feed: feed, Now: time.Now, Log: slog.New(slog.DiscardHandler)}, []control.Controller{{
			Name: "test",
			Keys: func(ev object.Event, _ func(object.Key)) {
				if ev.Key.GroupKind != control.ServiceAccount {
					return
				}
				found := map[string]bool{}
				control.AccountKeys(ev, accounts, func(key object.Key) { found[key.Namespace+"/"+key.Name] = true })
				select {
				case woken <- found:
				case <-ctx.Done():
				}
			},
			Reconcile: func(context.Context, object.Key) (time.Duration, error) { return 0, nil },
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	robot := object.Key{GroupKind: control.ServiceAccount, Namespace: "shop", Name: "robot"}
	for _, tc := range []struct {
		what   string
		change change.Change
		want   []string
	}{
		{"a new account", change.Create(&corev1.ServiceAccount{ObjectMeta: at("shop", "robot")}, time.Now()), []string{"shop/one", "shop/two"}},
		{"a change of it", change.Patch(robot, func(obj object.Object) bool {
			obj.SetLabels(map[string]string{"a": "b"})
			return true
		}), nil},
		{"its end", change.Delete(robot, metav1.DeleteOptions{}, time.Now()), nil},
		{"the default account", change.Create(&corev1.ServiceAccount{ObjectMeta: at("shop", "default")}, time.Now()), []string{"shop/unnamed"}},
	} {
		commit(tc.change)
		select {
		case got := <-woken:
			if len(got) != len(tc.want) {
				t.Errorf("%s wakes up %v, want %v", tc.what, got, tc.want)
			}
			for _, name := range tc.want {
				if !got[name] {
					t.Errorf("%s does not wake up %s", tc.what, name)
				}
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is not told of within a minute", tc.what)
		}
	}
}
