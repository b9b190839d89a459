package syncer_test

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load/kustomize"
)

// costly are files whose build takes minutes, below a directory.
func costly(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	tree := os.DirFS("../manifests/yaml/load/testdata/diamond")
	err := fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, p)
		files[path.Join(dir, p)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (w *world) overrun() string {
	ks, _ := w.store.Get(w.ksKey()).(*kustomizev1.Kustomization)
	if c := apimeta.FindStatusCondition(ks.Status.Conditions, "headway.dev/BuildBudgetExceeded"); c != nil {
		return c.Message
	}
	return ""
}

// A build that takes too much is ended, and not tried again until something
// changes, also after a restart.
func TestBuildsThatTakeTooMuch(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: time.Second, Memory: 512 << 20})
	t.Cleanup(func() { kustomize.Limit(before) })
	w := newWorld(t, costly(t, "bad"), func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./bad" })
	tried := func(request string) bool {
		ks, _ := w.store.Get(w.ksKey()).(*kustomizev1.Kustomization)
		return ks.Status.LastHandledReconcileAt == request && strings.Contains(w.overrun(), "more than 1s of CPU time") && strings.Contains(w.overrun(), "try 1]")
	}
	w.eventually("the build is ended", func() bool { return tried("") })
	ask := func(request string) {
		w.commit(change.Patch(w.ksKey(), func(o object.Object) bool {
			o.SetAnnotations(map[string]string{meta.ReconcileRequestAnnotation: request})
			return true
		}))
		w.eventually("it is not tried again at the request "+request, func() bool { return tried(request) })
	}
	ask("one")
	w.restart()
	ask("two")
	w.write(map[string]string{"bad/kustomization.yaml": "resources: [x.yaml]\n", "bad/x.yaml": configMap("a", "one")})
	w.push("something that can be built")
	w.eventually("a change is tried at once", func() bool { return w.configMap("a")["key"] == "one" && w.overrun() == "" })
}

// A Kustomization can be deleted while it is built.
func TestDeletionEndsBuild(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: time.Hour, Memory: 4 << 30})
	t.Cleanup(func() { kustomize.Limit(before) })
	w := newWorld(t, costly(t, "bad"), func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.Path = "./bad"
		ks.Finalizers = []string{kustomizev1.KustomizationFinalizer}
		ks.Spec.Timeout = &metav1.Duration{Duration: time.Hour}
	})
	w.eventually("it is being built", func() bool { return building(t) > 0 })
	w.commit(change.Delete(w.ksKey(), metav1.DeleteOptions{}, time.Now()))
	w.eventually("it is gone", func() bool { return w.store.Get(w.ksKey()) == nil })
}

// building counts the processes of builds that this process has started and that
// have taken more than a second of CPU time: one waits in advance for what to
// build.
func building(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, task := range tasks {
		data, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue // the thread has ended
		}
		for pid := range strings.FieldsSeq(string(data)) {
			name, err := os.ReadFile("/proc/" + pid + "/cmdline")
			if err != nil || !strings.HasPrefix(string(name), "headway-render") {
				continue
			}
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			if err != nil {
				continue // it has ended
			}
			// Those after the name, which is in parentheses, begin with the third.
			fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
			user, uerr := strconv.Atoi(fields[11])
			system, serr := strconv.Atoi(fields[12])
			if uerr != nil || serr != nil {
				t.Fatalf("/proc/%s/stat: %s", pid, stat)
			}
			if user+system > 100 { // hundredths of a second
				n++
			}
		}
	}
	return n
}
