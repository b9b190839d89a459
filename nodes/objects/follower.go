package objects

import (
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Follower is a store of Follow that hands on what it sees, and keeps none of it.
type Follower[T metav1.Object] struct {
	// Set takes an object or its change, Drop takes one away.
	Set  func(T)
	Drop func(namespace, name string)
	// Keep takes all away that it is not told to keep. What stays is in force all the
	// while.
	Keep func(func(namespace, name string) bool)
	// Complete is set once all objects have been read for the first time.
	Complete *atomic.Bool
}

// Add implements cache.ReflectorStore, as the following do.
func (f *Follower[T]) Add(obj any) error { f.Set(obj.(T)); return nil }

// Update takes a change.
func (f *Follower[T]) Update(obj any) error { f.Set(obj.(T)); return nil }

// Resync does nothing.
func (f *Follower[T]) Resync() error { return nil }

// Delete takes an object away.
func (f *Follower[T]) Delete(obj any) error {
	o := obj.(T)
	f.Drop(o.GetNamespace(), o.GetName())
	return nil
}

// Replace receives the result of a list.
func (f *Follower[T]) Replace(list []any, _ string) error {
	have := make(map[types.NamespacedName]bool, len(list))
	for _, obj := range list {
		o := obj.(T)
		have[types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}] = true
		f.Set(o)
	}
	f.Keep(func(namespace, name string) bool { return have[types.NamespacedName{Namespace: namespace, Name: name}] })
	f.Complete.Store(true)
	return nil
}
