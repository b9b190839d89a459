// Package images names images, fetches them from their registries into
// containerd's store, and looks up existing ones. Normalize turns the name in a
// manifest into the one name that the store uses; a Store fetches and unpacks, and
// reads an image's configuration and its user files; Import loads an archive.
//
// A pull tries each login in turn, uses plain HTTP for registries on the
// loopback as Docker does, and gives up when no byte has arrived for a while
// rather than after a total time, so that a large image on a slow link arrives.
package images
