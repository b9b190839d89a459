package kustomize_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"headway.dev/manifests/yaml/load/kustomize"
)

func TestMain(m *testing.M) {
	kustomize.Main()
	os.Exit(m.Run())
}

// tree is a tree as builds see it.
type tree struct{ fs.FS }

func in(name string) string {
	return path.Clean("./" + strings.TrimPrefix(path.Clean(name), "/"))
}

// CleanedAbs implements kustomize.FS.
func (t tree) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	switch {
	case t.IsDir(name):
		return filesys.ConfirmedDir("/" + in(name)), "", nil
	case t.Exists(name):
		return filesys.ConfirmedDir("/" + path.Dir(in(name))), path.Base(name), nil
	}
	return "", "", fmt.Errorf("%s: no such file or directory", name)
}

// ReadFile implements kustomize.FS.
func (t tree) ReadFile(name string) ([]byte, error) { return fs.ReadFile(t.FS, in(name)) }

// IsDir implements kustomize.FS.
func (t tree) IsDir(name string) bool {
	info, err := fs.Stat(t.FS, in(name))
	return err == nil && info.IsDir()
}

// Exists implements kustomize.FS.
func (t tree) Exists(name string) bool {
	_, err := fs.Stat(t.FS, in(name))
	return err == nil
}

func never() bool { return false }

func small(tb testing.TB) kustomize.FS {
	tb.Helper()
	return tree{fstest.MapFS{
		"a/kustomization.yaml": {Data: []byte("resources: [x.yaml]\nnamePrefix: p-\nbuildMetadata: [originAnnotations]\n")},
		"a/x.yaml":             {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")},
	}}
}

func TestBuild(t *testing.T) {
	got, err := kustomize.Build(t.Context(), small(t), "/a", never)
	if err != nil || len(got) != 1 || got[0].Name != "p-x" || got[0].Path != "x.yaml" || string(got[0].JSON) != `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"p-x"}}` {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := kustomize.Build(t.Context(), small(t), "/b", never); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// Little input makes much work: it ends, and others are not held up by it.
func TestBudget(t *testing.T) {
	before := kustomize.Limit(kustomize.Budget{CPU: 2 * time.Second, Memory: 1 << 30}) // a build of the race detector takes its share
	t.Cleanup(func() { kustomize.Limit(before) })
	for _, name := range []string{"replgrow", "dblpatch", "diamond"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := kustomize.Build(t.Context(), tree{os.DirFS("../testdata/" + name)}, "/", never)
			if !errors.Is(err, kustomize.ErrBudget) {
				t.Errorf("ends with %v", err)
			}
			t.Log(err)
		})
	}
	for range 8 {
		if _, err := kustomize.Build(t.Context(), small(t), "/a", never); err != nil {
			t.Errorf("beside them: %v", err)
		}
	}
}

// opening is a tree that tells when a file is read.
type opening struct {
	kustomize.FS
	read func()
}

// ReadFile implements kustomize.FS.
func (o opening) ReadFile(name string) ([]byte, error) {
	o.read()
	return o.FS.ReadFile(name)
}

// A build ends with its context, whatever it is at.
func TestContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	want := errors.New("not wanted any more")
	_, err := kustomize.Build(ctx, opening{tree{os.DirFS("../testdata/diamond")}, func() { cancel(want) }}, "/", never)
	if !errors.Is(err, want) {
		t.Errorf("ends with %v", err)
	}
}

// BenchmarkBuild compares builds in this process with those in a child, of
// kustomizations of so many objects.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1, 20, 200} {
		files, list := fstest.MapFS{}, "resources:\n"
		for i := range n {
			name := fmt.Sprintf("cm%d.yaml", i)
			files["a/"+name] = &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x%d, namespace: default}\ndata: {key: value}\n", i)}
			list += "- " + name + "\n"
		}
		files["a/kustomization.yaml"] = &fstest.MapFile{Data: []byte(list)}
		for where, build := range map[string]func() ([]kustomize.Resource, error){
			"here":  func() ([]kustomize.Resource, error) { return kustomize.Here(tree{files}, "/a", never) },
			"child": func() ([]kustomize.Resource, error) { return kustomize.Build(b.Context(), tree{files}, "/a", never) },
		} {
			b.Run(fmt.Sprintf("objects=%d/%s", n, where), func(b *testing.B) {
				before := cpu(b)
				for b.Loop() {
					if list, err := build(); err != nil || len(list) != n {
						b.Fatal(len(list), err)
					}
				}
				b.ReportMetric((cpu(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// cpu is the processor time of this process and of its children that ended.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}
