package main

import (
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/wire"
)

// What is wrong is said once.
func TestStatusSaysOneErrorOnce(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const why = "ReplicaSet web-1 is not available: ImagePullBackOff"
	sick := wire.KustomizationStatus{
		Namespace: "headway-system", Name: "cluster", Ready: "False", Reason: "HealthCheckFailed", Since: now, Sync: "Synced",
		Message:   "health check failed after 5m0s: timeout waiting for: [Deployment/shop/web status: 'InProgress': " + why + "]",
		Unhealthy: []wire.Object{{Kind: "Deployment", Namespace: "shop", Name: "web", Status: "InProgress", Message: why}},
	}
	var out strings.Builder
	printKustomization(&out, sick, now, palette{})
	if strings.Count(out.String(), why) != 1 {
		t.Errorf("not once:\n%s", &out)
	}
	shows(t, "status", out.String(), "HealthCheckFailed since", "health check failed after 5m0s: timeout waiting for\n", "Deployment/web in shop InProgress: "+why)

	fault := wire.Fault{Message: "a.yaml:3: Deployment/web: spec.replicas: must not be negative"}
	refused := wire.KustomizationStatus{Namespace: "headway-system", Name: "cluster", Ready: "False", Sync: "Failed", Message: fault.Message, Errors: []wire.Fault{fault, fault}}
	out.Reset()
	printKustomization(&out, refused, now, palette{})
	if strings.Count(out.String(), fault.Message) != 1 {
		t.Errorf("not once:\n%s", &out)
	}
}
