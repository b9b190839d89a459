package store_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Two objects in one transaction, and the events that follow.
func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(store.Options{Path: filepath.Join(dir, "headway.db")})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = s.Close() }()

	ctx, now := context.Background(), time.Now()
	watcher, err := s.Watch(0)
	if err != nil {
		log.Fatal(err)
	}
	_, err = s.Commit(ctx, change.Tx{Changes: []change.Change{
		change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, now),
		change.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}, now),
	}})
	if err != nil {
		log.Fatal(err)
	}
	events, err := watcher.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, e := range events {
		fmt.Println(e.Type == object.Added, e.Key)
	}
	// Output:
	// true Namespace/shop
	// true ConfigMap/shop/web
}
