package main

import (
	"os"
	"testing"

	"headway.dev/manifests/load/kustomize"
)

func TestMain(m *testing.M) {
	kustomize.Main()
	os.Exit(m.Run())
}
