package images_test

import (
	"testing"

	"headway.dev/nodes/runtime/images"
)

func TestNormalizeAsDocker(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, c := range []struct{ ref, want string }{
		{"web:v1", "docker.io/library/web:v1"},
		{"web", "docker.io/library/web:latest"},
		{"docker.io/web:v1", "docker.io/library/web:v1"},
		{"index.docker.io/library/web:v1", "docker.io/library/web:v1"},
		{"team/web", "docker.io/team/web:latest"},
		{"localhost:5000/web:v1", "localhost:5000/web:v1"},
		{"web@" + digest, "docker.io/library/web@" + digest},
		{"web:v1@" + digest, "docker.io/library/web@" + digest},
	} {
		got, err := images.Normalize(c.ref)
		if err != nil || got != c.want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", c.ref, got, err, c.want)
		}
	}
	for _, ref := range []string{"", "Web:v1", "a b", "web:", "-x/"} {
		if got, err := images.Normalize(ref); err == nil {
			t.Errorf("Normalize(%q) = %q, want an error", ref, got)
		}
	}
}
