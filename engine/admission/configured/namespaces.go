package configured

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corelisters "k8s.io/client-go/listers/core/v1"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/object"
)

var namespaceKind = schema.GroupKind{Kind: "Namespace"}

func namespaceOf(r object.Reader, name string) *corev1.Namespace {
	ns, _ := r.Get(object.Key{GroupKind: namespaceKind, Name: name}).(*corev1.Namespace)
	return ns
}

// viewed has the namespaces of one view.
type viewed struct {
	corelisters.NamespaceListerExpansion
	view object.Reader
}

var _ corelisters.NamespaceLister = viewed{}

// Get implements corelisters.NamespaceLister.
func (v viewed) Get(name string) (*corev1.Namespace, error) {
	if ns := namespaceOf(v.view, name); ns != nil {
		return ns, nil
	}
	return nil, noNamespace(name)
}

// List implements corelisters.NamespaceLister.
func (v viewed) List(s labels.Selector) ([]*corev1.Namespace, error) {
	return listNamespaces(v.view, s), nil
}

func listNamespaces(r object.Reader, s labels.Selector) []*corev1.Namespace {
	all, _ := r.List(namespaceKind, "")
	var out []*corev1.Namespace
	for _, obj := range all {
		if ns, ok := obj.(*corev1.Namespace); ok && s.Matches(labels.Set(ns.Labels)) {
			out = append(out, ns)
		}
	}
	return out
}

// shared has the namespaces that are stored and, for the library's webhooks, which
// cannot be told whose view they read: those that come along with what is judged
// at the moment. A namespace that is stored is as it is stored.
type shared struct {
	corelisters.NamespaceListerExpansion
	stored object.Reader

	mu     sync.Mutex
	coming map[string][]*corev1.Namespace
}

var _ corelisters.NamespaceLister = (*shared)(nil)

// Get implements corelisters.NamespaceLister.
func (s *shared) Get(name string) (*corev1.Namespace, error) {
	if ns := namespaceOf(s.stored, name); ns != nil {
		return ns, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if list := s.coming[name]; len(list) > 0 {
		return list[len(list)-1], nil
	}
	return nil, noNamespace(name)
}

// List implements corelisters.NamespaceLister.
func (s *shared) List(sel labels.Selector) ([]*corev1.Namespace, error) {
	return listNamespaces(s.stored, sel), nil
}

// during makes a namespace of the view of ctx known until the returned function is
// called.
func (s *shared) during(ctx context.Context, name string) func() {
	view := chain.View(ctx, s.stored)
	if name == "" || view == s.stored || namespaceOf(s.stored, name) != nil {
		return func() {}
	}
	ns := namespaceOf(view, name)
	if ns == nil {
		return func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.coming == nil {
		s.coming = map[string][]*corev1.Namespace{}
	}
	s.coming[name] = append(s.coming[name], ns)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := s.coming[name]
		for i := range list {
			if list[i] == ns {
				list = append(list[:i:i], list[i+1:]...)
				break
			}
		}
		if s.coming[name] = list; len(list) == 0 {
			delete(s.coming, name)
		}
	}
}
