// Package images names images, fetches them from their registries into
// containerd's store, and answers for those that are there. Normalize turns what a
// manifest says into the one name the store uses; Pull fetches and unpacks; Import
// loads an archive; a Store tells what an image's configuration and its user files
// say.
//
// A pull tries each login in turn, talks plain HTTP to registries on the
// loopback as Docker does, and gives up when no byte has come for a while
// rather than after a total time, so that a big image on a slow link arrives.
package images
