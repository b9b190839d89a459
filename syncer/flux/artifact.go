package flux

import (
	"net/url"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// artifactURL is the artifact's metadata that says what it was fetched from.
const artifactURL = "headway.dev/url"

// FetchedFrom is the metadata of the artifact that a source brings now.
func FetchedFrom(obj *sourcev1.GitRepository) map[string]string {
	return map[string]string{artifactURL: Redacted(obj.Spec.URL)}
}

// Fetched is the revision that was accepted last, as the status says, of the URL that
// the spec has now; empty if there is none.
func Fetched(obj *sourcev1.GitRepository) string {
	if a := obj.Status.Artifact; a != nil && a.Metadata[artifactURL] == Redacted(obj.Spec.URL) {
		return a.Revision
	}
	return ""
}

// Redacted returns a URL without its password.
func Redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "invalid"
	}
	return u.Redacted()
}
