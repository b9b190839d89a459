package hollow

import (
	"context"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// told is a store that remembers what it was told.
type told struct{ calls []string }

func (s *told) Add(obj any) error    { s.calls = append(s.calls, "add "+uid(obj)); return nil }
func (s *told) Update(obj any) error { s.calls = append(s.calls, "update "+uid(obj)); return nil }
func (s *told) Delete(obj any) error { s.calls = append(s.calls, "delete "+uid(obj)); return nil }
func (s *told) Resync() error        { return nil }

func (s *told) Replace(list []any, _ string) error {
	call := "replace"
	uids := make([]string, 0, len(list))
	for _, obj := range list {
		uids = append(uids, uid(obj))
	}
	slices.Sort(uids)
	for _, u := range uids {
		call += " " + u
	}
	s.calls = append(s.calls, call)
	return nil
}

func uid(obj any) string { return string(obj.(*corev1.Pod).UID) }

func podOf(node, uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}, Spec: corev1.PodSpec{NodeName: node}}
}

// Each follower is told what a watch of its own would tell it, whenever it begins.
func TestFeed(t *testing.T) {
	for _, test := range []struct {
		name  string
		fresh bool
		do    func(f *feed, begin func())
		want  []string
	}{
		{"it begins before the first list", true, func(f *feed, begin func()) {
			begin()
			_ = f.Replace([]any{podOf("a", "1"), podOf("b", "2")}, "7")
		}, []string{"replace 1"}},
		{"nothing is listed for it", false, func(f *feed, begin func()) {
			begin()
			_ = f.Replace([]any{podOf("b", "2")}, "7")
		}, []string{"replace"}},
		{"it begins later, and takes what is there for a list", true, func(f *feed, begin func()) {
			_ = f.Replace([]any{podOf("a", "1"), podOf("a", "2"), podOf("b", "3")}, "7")
			_ = f.Add(podOf("a", "4"))
			_ = f.Delete(podOf("a", "1"))
			begin()
		}, []string{"replace 2 4"}},
		{"it begins later, and takes what is there for changes", false, func(f *feed, begin func()) {
			_ = f.Replace([]any{podOf("a", "1"), podOf("b", "3")}, "7")
			begin()
		}, []string{"add 1"}},
		{"what it follows is gone before it begins", false, func(f *feed, begin func()) {
			_ = f.Replace([]any{podOf("a", "1")}, "7")
			_ = f.Delete(podOf("a", "1"))
			begin()
		}, []string{"replace"}},
		{"changes of others are none", true, func(f *feed, begin func()) {
			_ = f.Replace(nil, "7")
			begin()
			_ = f.Add(podOf("a", "1"))
			_ = f.Add(podOf("b", "2"))
			_ = f.Add(podOf("elsewhere", "3"))
			_ = f.Update(podOf("a", "1"))
			_ = f.Delete(podOf("b", "2"))
			_ = f.Delete(podOf("a", "1"))
		}, []string{"replace", "add 1", "update 1", "delete 1"}},
		{"the watch lists again", true, func(f *feed, begin func()) {
			_ = f.Replace([]any{podOf("a", "1"), podOf("a", "2")}, "7")
			begin()
			_ = f.Replace([]any{podOf("a", "2"), podOf("b", "3")}, "9")
		}, []string{"replace 1 2", "replace 2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFeed(test.fresh, func(obj any) string {
				if name := obj.(*corev1.Pod).Spec.NodeName; name != "elsewhere" {
					return name
				}
				return ""
			})
			var store told
			test.do(f, func() {
				if err := f.begin("a", &store); err != nil {
					t.Fatal(err)
				}
			})
			if !slices.Equal(store.calls, test.want) {
				t.Errorf("got %q, want %q", store.calls, test.want)
			}
			if _, kept := f.objects[""]; kept {
				t.Error("it keeps what is no node's of the fleet")
			}
		})
	}
}

// A follower whose context has ended is told nothing more, and one that has taken
// its place is.
func TestFeedEnds(t *testing.T) {
	f := newFeed(true, func(obj any) string { return obj.(*corev1.Pod).Spec.NodeName })
	_ = f.Replace(nil, "7")
	ctx, cancel := context.WithCancel(t.Context())
	var first, second told
	var wg sync.WaitGroup
	wg.Go(func() { f.follow(ctx, "a", &first) })
	cancel()
	wg.Wait()
	_ = f.Add(podOf("a", "1"))

	other, end := context.WithCancel(t.Context())
	wg.Go(func() { f.follow(other, "a", &second) })
	ended, done := context.WithCancel(t.Context())
	done()
	var third told
	f.follow(ended, "b", &third)
	end()
	wg.Wait()
	for i, got := range []struct {
		calls []string
		want  []string
	}{{first.calls, []string{"replace"}}, {second.calls, []string{"replace 1"}}, {third.calls, []string{"replace"}}} {
		if !slices.Equal(got.calls, got.want) {
			t.Errorf("follower %d was told %q, want %q", i, got.calls, got.want)
		}
	}
}
