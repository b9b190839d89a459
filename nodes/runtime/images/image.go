package images

import (
	"fmt"

	"github.com/distribution/reference"
)

// Snapshotter keeps the unpacked layers of every image and container.
const Snapshotter = "overlayfs"

// Normalize returns the full name of an image as Docker would: "web:v1" is
// "docker.io/library/web:v1", no tag is ":latest", and if a reference has both
// tag and digest the digest counts.
func Normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", ref, err)
	}
	return named.String(), nil
}
