package load_test

import (
	"os"
	"testing"

	"headway.dev/manifests/yaml/load/kustomize"
)

func TestMain(m *testing.M) {
	// What TestRenderingIsSealed traces builds in its own process: that a child can
	// do none of it is shown where it is confined.
	if os.Getenv("HEADWAY_OUTSIDE") == "" {
		kustomize.Main()
	}
	os.Exit(m.Run())
}
