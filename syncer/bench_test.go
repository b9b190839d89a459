package syncer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
)

func manifests(n int) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("c%04d.yaml", i)] = configMap(fmt.Sprintf("c%04d", i), "one")
	}
	return files
}

// BenchmarkPush measures one changed line, from the start of the push to the
// object being stored. The git program's own time is in it, and reported.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b, manifests(n), nil)
			w.applied(git(b, w.work, "rev-parse", "HEAD"))
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				value := fmt.Sprintf("v%d", i)
				w.write(map[string]string{"c0001.yaml": configMap("c0001", value)})
				git(b, w.work, "commit", "-q", "-a", "-m", value)
				b.StartTimer()
				git(b, w.work, "push", "-q", "origin", "HEAD:main")
				for w.configMap("c0001")["key"] != value {
					<-time.After(200 * time.Microsecond)
				}
			}
		})
	}
}

// BenchmarkPushKustomize is BenchmarkPush for a tree of 50 kustomizations with
// 20 ConfigMaps each, one line of which changes.
func BenchmarkPushKustomize(b *testing.B) {
	files := map[string]string{}
	for i := range 50 {
		dir, list := fmt.Sprintf("app%02d/", i), "resources:\n"
		for j := range 20 {
			name := fmt.Sprintf("c%02d%02d", i, j)
			files[dir+name+".yaml"] = configMap(name, "one")
			list += "- " + name + ".yaml\n"
		}
		files[dir+"kustomization.yaml"] = list
	}
	w := newWorld(b, files, nil)
	w.applied(git(b, w.work, "rev-parse", "HEAD"))
	i := 0
	for b.Loop() {
		b.StopTimer()
		i++
		value := fmt.Sprintf("v%d", i)
		w.write(map[string]string{"app07/c0703.yaml": configMap("c0703", value)})
		git(b, w.work, "commit", "-q", "-a", "-m", value)
		b.StartTimer()
		git(b, w.work, "push", "-q", "origin", "HEAD:main")
		for w.configMap("c0703")["key"] != value {
			<-time.After(200 * time.Microsecond)
		}
	}
}

// BenchmarkFirstSync measures 1,000 fetched ConfigMaps until all are stored:
// build, plan, check and one transaction.
func BenchmarkFirstSync(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b, manifests(1000), func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true })
		w.eventually("it is fetched", func() bool { return strings.HasPrefix(w.ready("GitRepository"), "True") })
		b.StartTimer()
		w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
			o.(*kustomizev1.Kustomization).Spec.Suspend = false
			return true
		}))
		for w.configMap("c0999") == nil {
			<-time.After(200 * time.Microsecond)
		}
		b.StopTimer()
		w.stop()
		b.StartTimer()
	}
}
