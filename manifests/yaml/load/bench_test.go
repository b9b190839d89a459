package load_test

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"

	"headway.dev/manifests/yaml/load"
)

// BenchmarkDir loads 1,000 manifests: from a plain directory, and rendered by
// kustomize.
func BenchmarkDir(b *testing.B) {
	tree := fstest.MapFS{}
	list := "resources:\n"
	for i := range 1000 {
		name := fmt.Sprintf("cm%04d.yaml", i)
		tree["plain/"+name] = &fstest.MapFile{Data: fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cm%d\n  namespace: default\n  labels: {app: web}\ndata:\n  a: \"1\"\n  b: some longer text\n", i)}
		tree["kustomize/"+name] = tree["plain/"+name]
		list += "- " + name + "\n"
	}
	tree["kustomize/kustomization.yaml"] = &fstest.MapFile{Data: []byte(list)}
	for _, dir := range []string{"plain", "kustomize"} {
		b.Run(dir, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if items, err := load.Dir(context.Background(), tree, dir, load.Options{}); err != nil || len(items) != 1000 {
					b.Fatal(len(items), err)
				}
			}
		})
		b.Run(dir+"/cached", func(b *testing.B) {
			opts := load.Options{Cache: &load.Cache{}}
			for b.Loop() {
				if items, err := load.Dir(context.Background(), tree, dir, opts); err != nil || len(items) != 1000 {
					b.Fatal(len(items), err)
				}
			}
		})
	}
}
