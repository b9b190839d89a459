package load_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
)

// A directory with a kustomization file is rendered in memory, and every
// object knows the file that it comes from.
func ExampleDir() {
	tree := fstest.MapFS{
		"base/kustomization.yaml": {Data: []byte("resources: [config.yaml]\n")},
		"base/config.yaml":        {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: hello\n")},
		"prod/kustomization.yaml": {Data: []byte("namespace: shop\nresources: [../base]\n")},
	}
	items, err := load.Dir(context.Background(), tree, "prod", load.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, it := range items {
		key, _ := scheme.KeyOf(it.Object)
		fmt.Println(key, "from", it.Source.File)
	}
	// Output:
	// ConfigMap/shop/hello from base/config.yaml
}

// What is not a field of the kind is a fault, not ignored.
func ExampleBytes() {
	_, err := load.Bytes("web.yaml", []byte("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replica: 3\n"))
	fmt.Println(err)
	// Output:
	// web.yaml:6: Deployment/web: spec.replica: unknown field
}
