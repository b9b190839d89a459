// Package image names images and fetches them from their registries into
// containerd's store. Normalize turns what a manifest says into the one name
// the store uses; Pull fetches and unpacks; Import loads an archive.
//
// A pull tries each login in turn, talks plain HTTP to registries on the
// loopback as Docker does, and gives up when no byte has come for a while
// rather than after a total time, so that a big image on a slow link arrives.
package image

import (
	"fmt"

	"github.com/distribution/reference"
)

// Snapshotter keeps the unpacked layers of every image and container.
const Snapshotter = "overlayfs"

// Normalize returns the full name of an image as Docker would:
// "web:v1" is "docker.io/library/web:v1", no tag is ":latest", and of a
// reference with tag and digest the digest counts.
func Normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("couldn't parse image name %q: %w", ref, err)
	}
	return named.String(), nil
}
