package gitops

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"headway.dev/cmd/headway/cli"
	"headway.dev/syncer/wire"
)

// The end of a failed sync does not repeat why it failed.
func TestSyncSaysOneErrorOnce(t *testing.T) {
	var out strings.Builder
	w := &wait{out: &out, start: time.Now()}
	for _, event := range []wire.Event{
		{Phase: wire.PhaseVerdict, Kustomization: "ns/a", Verdict: wire.VerdictFailed, Message: "no room"},
		{Phase: wire.PhaseVerdict, Kustomization: "ns/a", Message: "no room", Done: true},
		{Phase: wire.PhaseVerdict, Kustomization: "ns/b", Message: "waits for ns/c, which failed", Done: true},
	} {
		if _, err := w.tell(event); err != nil {
			t.Fatal(err)
		}
	}
	if got := regexp.MustCompile(` \(\d[^)]*s\)`).ReplaceAllString(out.String(), ""); got != "failed: no room\nwaits for ns/c, which failed\n" {
		t.Errorf("a sync says:\n%s", got)
	}
}

// A pull that fails again and again is told once: between its tries its container
// waits for its back-off.
func TestSyncTellsOfAPullOnce(t *testing.T) {
	var out strings.Builder
	w := &wait{out: &out, start: time.Now()}
	for _, message := range []string{
		"Deployment/a: container c: ErrImagePull: no such image",
		"Deployment/a: container c: ImagePullBackOff: Back-off pulling image",
		"Deployment/a: container c: ErrImagePull: no such image",
		"Deployment/b: container c: ErrImagePull: no such image",
		"Deployment/b: 1 of 2 pods are ready",
		"Deployment/b: container c: ErrImagePull: no such image",
	} {
		if _, err := w.tell(wire.Event{Phase: wire.PhaseHealth, Kustomization: "ns/a", Message: message}); err != nil {
			t.Fatal(err)
		}
	}
	if lines := strings.Count(out.String(), "\n"); lines != 4 {
		t.Errorf("%d lines, want 4:\n%s", lines, out.String())
	}
}

// poisonous is an answer whose reading panics.
type poisonous struct{}

func (poisonous) Read([]byte) (int, error) { panic("poisonous answer") }
func (poisonous) Close() error             { return nil }

// answering is a RoundTripper that gives every request the same answer.
type answering struct{ body io.ReadCloser }

// RoundTrip implements http.RoundTripper.
func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/sync") {
		return &http.Response{StatusCode: http.StatusOK, Request: r, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}
	return &http.Response{StatusCode: http.StatusOK, Request: r, Body: a.body}, nil
}

// A wait ends with an error when its answer cannot be read, whatever the reason.
func TestSyncEndsWithItsReader(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := cli.NewClient(&rest.Config{Host: "http://cluster.example.com", Transport: answering{poisonous{}}})
	if err != nil {
		t.Fatal(err)
	}
	err = syncAndWait(ctx, c, wire.SyncRequest{}, waitOptions{}, cli.Format{}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "the server's answer could not be read") {
		t.Errorf("sync: %v", err)
	}
}
