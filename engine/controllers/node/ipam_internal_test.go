package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
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

// BenchmarkNoRangeLeft looks at each of the 744 nodes of 1,000 that get no range.
func BenchmarkNoRangeLeft(b *testing.B) {
	s, err := store.Open(store.Options{Path: filepath.Join(b.TempDir(), "db")})
	if err != nil {
		b.Fatal(err)
	}
	kinds, log := &scheme.Registry{}, slog.New(slog.DiscardHandler)
	env := control.Env{Store: s, Kinds: kinds, Feed: control.NewFeed(s, kinds, log), Now: time.Now, Log: log}
	ctl := NewIPAM(env, netip.MustParsePrefix("10.244.0.0/16"), netip.Prefix{})
	told := make(chan struct{})
	var without []object.Key
	var changes []change.Change
	for i := range 1000 {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)}}
		if i < 256 {
			n.Spec.PodCIDR = fmt.Sprintf("10.244.%d.0/24", i)
		} else {
			without = append(without, object.KeyOf(control.Node, n))
		}
		changes = append(changes, change.Create(n, time.Now()))
	}
	if _, err := s.Commit(b.Context(), change.Tx{Changes: changes}); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	seen := 0
	go func() {
		done <- control.Run(ctx, env, []control.Controller{{
			Name: "test",
			Keys: func(object.Event, func(object.Key)) {
				if seen++; seen == 1000 {
					close(told)
				}
			},
			Reconcile: func(context.Context, object.Key) (time.Duration, error) { return 0, nil },
		}})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}()
	<-told
	b.ReportAllocs()
	for b.Loop() {
		for _, key := range without {
			_, _ = ctl.Reconcile(ctx, key)
		}
	}
}
