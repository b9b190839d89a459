package report

import (
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/syncer/wire"
)

// What is wrong is said once.
func TestStatusSaysOneErrorOnce(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const why = "ReplicaSet web-1 is not available: ImagePullBackOff"
	sick := wire.KustomizationStatus{
		Namespace: "headway-system", Name: "cluster", Ready: "False", Reason: "HealthCheckFailed", Since: now, Sync: wire.SyncSynced,
		Message:   "health check failed after 5m0s: timeout waiting for: [Deployment/shop/web status: 'InProgress': " + why + "]",
		Unhealthy: []wire.Object{{Kind: "Deployment", Namespace: "shop", Name: "web", Status: "InProgress", Message: why}},
	}
	var out strings.Builder
	printKustomization(&out, sick, now, Palette{})
	if strings.Count(out.String(), why) != 1 {
		t.Errorf("not once:\n%s", &out)
	}
	headwaytest.Shows(t, "status", out.String(), "HealthCheckFailed since", "health check failed after 5m0s: timeout waiting for\n", "Deployment/web in shop InProgress: "+why)

	fault := wire.Fault{Message: "a.yaml:3: Deployment/web: spec.replicas: must not be negative"}
	refused := wire.KustomizationStatus{Namespace: "headway-system", Name: "cluster", Ready: "False", Sync: wire.SyncFailed, Message: fault.Message, Errors: []wire.Fault{fault, fault}}
	out.Reset()
	printKustomization(&out, refused, now, Palette{})
	if strings.Count(out.String(), fault.Message) != 1 {
		t.Errorf("not once:\n%s", &out)
	}
}

// The words say what is: what waits for a dependency was not refused, and where
// nothing is applied nothing is healthy.
func TestStatusWords(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const revision = "main@sha1:3c7ab33000000000000000000000000000000000"
	base := wire.KustomizationStatus{Namespace: "web", Name: "apps", Path: "./apps", Attempted: revision, Ready: "False", Since: now}
	for name, c := range map[string]struct {
		edit        func(*wire.KustomizationStatus)
		says, never []string
	}{
		"waits for a dependency": {
			func(k *wire.KustomizationStatus) {
				k.Sync, k.Reason, k.Message = "Waiting", "DependencyNotReady", "dependency 'web/base' is not ready"
				k.WaitsFor = []wire.Object{{Kind: "Kustomization", Namespace: "web", Name: "base", Status: "False", Message: "its image cannot be pulled"}}
			},
			[]string{"waiting  main@3c7ab33", "sync     Waiting", "dependency 'web/base' is not ready", "waits for Kustomization/base in web False: its image cannot be pulled", "nothing is applied yet"},
			[]string{"refused", "health   healthy", "not healthy"},
		},
		"refused": {func(k *wire.KustomizationStatus) {
			k.Sync, k.Message, k.Errors = "Failed", "a.yaml:3: no", []wire.Fault{{Message: "a.yaml:3: no"}}
		}, []string{"refused  main@3c7ab33", "sync     Failed", "error a.yaml:3: no", "nothing is applied yet"}, []string{"waiting", "health   healthy", "why "}},
		"applied and healthy": {func(k *wire.KustomizationStatus) {
			k.Sync, k.Ready, k.Applied, k.Healthy, k.Objects = "Synced", "True", revision, true, 3
		}, []string{"sync     Synced, 3 objects", "health   healthy"}, []string{"refused", "waiting", "nothing is applied", "why "}},
		"suspended": {func(k *wire.KustomizationStatus) {
			k.Sync, k.Ready, k.Applied, k.Healthy, k.SuspendedBy, k.SuspendedSince = "Suspended", "True", revision, true, "ada with flux", now.Add(-time.Hour)
		}, []string{"sync     Suspended", "suspended by ada with flux since ", "(60m ago)"}, []string{"refused", "why "}},
	} {
		t.Run(name, func(t *testing.T) {
			k := base
			c.edit(&k)
			var out strings.Builder
			printKustomization(&out, k, now, Palette{})
			headwaytest.Shows(t, "status", out.String(), c.says...)
			for _, word := range c.never {
				if strings.Contains(out.String(), word) {
					t.Errorf("it says %q:\n%s", word, &out)
				}
			}
		})
	}
}
