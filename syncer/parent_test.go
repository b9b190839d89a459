package syncer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// values follows what data.key of a ConfigMap has been, from now on, until the
// test ends; the function returns it so far.
func (w *world) values(name string) func() []string {
	w.t.Helper()
	watcher, err := w.store.Watch(0, key("ConfigMap", "", "").GroupKind)
	if err != nil {
		w.t.Fatal(err)
	}
	var seen []string
	return func() []string {
		ctx, cancel := context.WithCancel(w.t.Context())
		defer cancel()
		// What is written last is seen last.
		w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "marker"}})
		w.commit(change.Delete(key("ConfigMap", "default", "marker"), metav1.DeleteOptions{}, time.Now()))
		for {
			events, err := watcher.Next(ctx)
			if err != nil {
				w.t.Fatal(err)
			}
			for _, ev := range events {
				cm, ok := ev.Object.(*corev1.ConfigMap)
				switch {
				case ok && ev.Type != object.Deleted && cm.Name == name:
					if v := cm.Data["key"]; len(seen) == 0 || seen[len(seen)-1] != v {
						seen = append(seen, v)
					}
				case ev.Key.Name == "marker" && ev.Type == object.Deleted:
					return seen
				}
			}
		}
	}
}

// A commit that changes a child's spec and its files is applied once, with the
// new spec, however deep the child is, and also by a Kustomization that
// declares itself.
func TestSpecAndFilesAreOneCommit(t *testing.T) {
	with := func(i int) string { return fmt.Sprintf("  postBuild: {substitute: {v%d: new%d}}\n", i, i) }
	for name, c := range map[string]struct {
		path   string
		commit func(i int) map[string]string
	}{
		"child": {"cluster", func(i int) map[string]string {
			return map[string]string{"cluster/one.yaml": nested("one", "./one", with(i)), "one/a.yaml": configMap("a", fmt.Sprintf("${v%d:=old}", i))}
		}},
		"grandchild": {"cluster", func(i int) map[string]string {
			return map[string]string{
				"cluster/one.yaml": nested("one", "./one", "  timeout: "+fmt.Sprint(i+1)+"m\n"),
				"one/two.yaml":     nested("two", "./two", with(i)), "two/a.yaml": configMap("a", fmt.Sprintf("${v%d:=old}", i)),
			}
		}},
		"itself": {"cluster", func(i int) map[string]string {
			return map[string]string{"cluster/self.yaml": nested("cluster", "./cluster", with(i)), "cluster/a.yaml": configMap("a", fmt.Sprintf("${v%d:=old}", i))}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.commit(0), func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = c.path })
			var want []string
			w.eventually("the first is applied", func() bool { return w.configMap("a")["key"] == "new0" })
			seen := w.values("a")
			seen()
			for i := 1; i <= 6; i++ {
				w.write(c.commit(i))
				w.push("change the spec and the files")
				value := fmt.Sprintf("new%d", i)
				want = append(want, value)
				w.eventually(value+" is applied", func() bool { return w.configMap("a")["key"] == value })
			}
			if got := seen(); !slices.Equal(got, want) {
				t.Errorf("a was %q, want %q", got, want)
			}
		})
	}
}

// While its parent is refused a child goes on only if the commit leaves its
// spec as it is.
func TestChildOfARefusedParent(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"one/a.yaml":       configMap("a", "one"),
	})
	w.eventually("a is applied", func() bool { return w.configMap("a")["key"] == "one" })
	bad := "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: default}\nspec: {ports: [{port: 123456}]}\n"
	w.write(map[string]string{"cluster/bad.yaml": bad, "one/a.yaml": configMap("a", "two")})
	w.push("a refused parent")
	w.eventually("the child goes on", func() bool { return w.configMap("a")["key"] == "two" })

	w.write(map[string]string{"cluster/one.yaml": nested("one", "./one", "  postBuild: {substitute: {v: new}}\n"), "one/a.yaml": configMap("a", "${v:=old}")})
	sha := w.push("and another spec")
	want := "False DependencyNotReady the Kustomization 'headway-system/cluster', which declares this one, has not applied main@sha1:" + sha + ", and may change it"
	w.eventually("the child waits", func() bool { return w.readyOf("one") == want })
	if got := w.configMap("a")["key"]; got != "two" {
		t.Errorf("a = %q while the child waits, want two", got)
	}
	w.write(map[string]string{"cluster/bad.yaml": ""})
	w.push("mend the parent")
	w.eventually("the child follows", func() bool { return w.configMap("a")["key"] == "new" })
	if got := w.readyOf("one"); !strings.HasPrefix(got, "True") {
		w.eventually("the child is ready", func() bool { return strings.HasPrefix(w.readyOf("one"), "True") })
	}
}

// A child that moves from one parent to another is applied with the spec that
// the new one declares.
func TestChildChangesItsParent(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""),
		"cluster/two.yaml": nested("two", "./two", ""),
		"one/c.yaml":       nested("child", "./child", ""),
		"one/keep.yaml":    configMap("keep1", "x"),
		"two/keep.yaml":    configMap("keep2", "x"),
		"child/a.yaml":     configMap("a", "first"),
	})
	w.eventually("a is applied", func() bool { return w.configMap("a")["key"] == "first" && w.configMap("keep2") != nil })
	seen := w.values("a")
	places := []string{"one", "two"}
	var want []string
	for i := range 4 {
		value := fmt.Sprintf("new%d", i)
		w.write(map[string]string{
			places[i%2] + "/c.yaml": "", places[(i+1)%2] + "/c.yaml": nested("child", "./child", fmt.Sprintf("  postBuild: {substitute: {v%d: %s}}\n", i, value)),
			"child/a.yaml": configMap("a", fmt.Sprintf("${v%d:=old}", i)),
		})
		w.push("move the child")
		want = append(want, value)
		w.eventually(value+" is applied", func() bool { return w.configMap("a")["key"] == value })
	}
	if got := seen(); !slices.Equal(got, want) {
		t.Errorf("a was %q, want %q", got, want)
	}
}
