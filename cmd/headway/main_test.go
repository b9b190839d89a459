package main

import (
	"os"
	"testing"

	"headway.dev/manifests/yaml/load/kustomize"
)

func TestMain(m *testing.M) {
	kustomize.Main()
	os.Exit(m.Run())
}
